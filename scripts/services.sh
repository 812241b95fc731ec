#!/bin/sh
# Installs the real programs that the tests drive, where this user may: root, on Debian.
#
# Never fails and never takes anything away: what cannot be had is named here, and again as skips at the end of the tests.
# No service is started or enabled. PostgreSQL is not installed: the development set brings its binaries.
set -eu
NOTE=${VENV:-.venv}/.not-installed
PATH=$PATH:/usr/sbin:/sbin
: >"$NOTE"

missing=
need() { # program, package
  command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need smtpd opensmtpd
need strace strace
need ip iproute2
need unshare util-linux
need systemd-analyze systemd
need curl curl
need pgrep procps
[ -e /etc/services ] || missing="$missing netbase"

[ -n "$missing" ] || exit 0

leave() {
  echo "not installed:$missing ($1)" | tee -a "$NOTE" >&2
  exit 0
}
command -v apt-get >/dev/null 2>&1 || leave "this is not Debian"
[ "$(id -u)" = 0 ] || leave "only root can install them: apt-get install$missing"

# OpenSMTPD conflicts with every other MTA, and must not displace one.
mta=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
  awk '$1 == "installed" && $2 != "opensmtpd" && /mail-transport-agent/ { print $2; exit }')

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
ours=
cleanup() {
  rm -f "$log"
  [ -z "$ours" ] || rm -f "$policy"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$policy" ]; then
  ours=1
  printf '#!/bin/sh\nexit 101\n' >"$policy" # 101: the package's scripts may start nothing
  chmod 755 "$policy"
fi

install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove "$1" >>"$log" 2>&1
}

echo "==> installing$missing"
apt-get update -q >>"$log" 2>&1 || true
for package in $missing; do
  if [ "$package" = opensmtpd ] && [ -n "$mta" ]; then
    echo "not installed: opensmtpd ($mta is this machine's MTA, and stays)" | tee -a "$NOTE" >&2
  elif ! install "$package"; then
    echo "not installed: $package ($(grep -m 1 '^E:' "$log" || echo 'apt-get failed'))" | tee -a "$NOTE" >&2
  elif [ "$package" = opensmtpd ] && [ -d /run/systemd/system ]; then
    systemctl -q disable opensmtpd.service # installed for tests: not to be started at the next boot either
  fi
done
