"""The steps of the demonstration, in order; each docstring is the line that is printed for it."""

from collections.abc import Callable

from scripts.demo.site import AGENT_STATE, CA_FILE, MTA, PORT, SENDER, SINKS, NotAsTold, Site

BOUNCES = "bounces.example"
POOL = {"relays": [{"name": sink.name, "url": sink.url()} for sink in SINKS]}
RULE = {
    "priority": 100,
    "match": {"recipients": ["shop.example"]},
    "action": {"kind": "relay", "via": "map:pool"},
}


def set_up(site: Site) -> None:
    """A server, an agent beside a real smtpd that it runs, and three relays: the sinks a, b, c."""
    site.start_server()
    print(f"   the server answers on 127.0.0.1:{PORT}, inside its own namespace")
    site.call("PUT", f"/v1/mtas/{MTA}", {"driver": "opensmtpd"}, 201)
    made = site.call("POST", f"/v1/mtas/{MTA}/token", status=201)
    site.start_agent(made["token"])
    print(f'   smtpd.conf ends in: include "{AGENT_STATE}/live/relaymap.conf"')
    status = site.call("GET", f"/v1/mtas/{MTA}/status")
    print(f"   OpenSMTPD {status['version']} is {status['state']}")


def route(site: Site) -> None:
    """Mail to shop.example over a map of three relays, each in turn."""
    site.call("PUT", "/v1/relay-maps/pool", POOL, 201)
    site.call("PUT", "/v1/rules/shop", RULE, 201)
    site.call("GET", "/v1/resolve?recipient=u@shop.example")
    site.call("POST", "/v1/pushes?wait=30", {})
    site.mail(90, "shop.example", {"a": 30, "b": 30, "c": 30}, SENDER)


def take_out(site: Site) -> None:
    """Relay b goes out of service: a table update, no restart."""
    pid = site.smtpd_pid()
    state = {"state": "out", "reason": "its disk is full"}
    site.call("PUT", "/v1/relay-maps/pool/relays/b/state?push=wait", state)
    if site.smtpd_pid() != pid:
        raise NotAsTold("smtpd was restarted")
    print(f"   smtpd is the same process as before, {pid}")
    site.mail(90, "shop.example", {"a": 45, "b": 0, "c": 45}, SENDER)


def change_rule(site: Site) -> None:
    """The rule gives its mail another sender: a restart."""
    pid = site.smtpd_pid()
    action = {"kind": "relay", "via": "map:pool", "mail_from": f"@{BOUNCES}"}
    site.call("PATCH", "/v1/rules/shop?push=wait", {"action": action})
    print(f"   smtpd was process {pid} and is {site.smtpd_pid()}")
    site.mail(90, "shop.example", {"a": 45, "b": 0, "c": 45}, BOUNCES)


def be_refused(site: Site) -> None:
    """A change that smtpd refuses, since the CA that it names lost its file: the old serves."""
    pid = site.smtpd_pid()
    ca = site.namespace.outside(CA_FILE)
    kept = ca.rename(ca.with_suffix(".lost"))
    rule = {
        "match": {"recipients": ["partner.example"]},
        "action": {"kind": "relay", "via": "tls://127.0.1.11", "ca": "partner"},
    }
    site.call("PUT", "/v1/rules/partner?push=wait", rule, 424)
    if site.smtpd_pid() != pid:
        raise NotAsTold("smtpd was restarted")
    site.mail(90, "shop.example", {"a": 45, "b": 0, "c": 45}, BOUNCES)
    kept.rename(ca)
    print("   the file is back")


def restore(site: Site) -> None:
    """Revision 2 is restored: the first sender again, and relay b still out, as operation is."""
    site.call("POST", "/v1/revisions/2/restore?push=wait", {})
    site.mail(90, "shop.example", {"a": 45, "b": 0, "c": 45}, SENDER)
    site.call("PUT", "/v1/relay-maps/pool/relays/b/state?push=wait", {"state": "active"})
    site.mail(90, "shop.example", {"a": 30, "b": 30, "c": 30}, SENDER)


STEPS: tuple[Callable[[Site], None], ...] = (
    set_up,
    route,
    take_out,
    change_rule,
    be_refused,
    restore,
)
