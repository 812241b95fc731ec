"""One push after another on a real smtpd: what it takes, what it refuses, and how it comes back."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mta.agents.machine import INCLUDE, STATE_DIR, A, B, C, Machine, operator
from tests.mta.agents.wanting import relay_map, rule, wanted
from tests.mta.bed.namespace import Namespace

TO_A = wanted(1, [rule(1, A.url(), "x.test")])
TO_B = wanted(2, [rule(1, B.url(), "x.test")])


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B, C)


@pytest.fixture
def machine(shared: Machine) -> Machine:
    return shared.fresh()


def test_a_push_is_served_once_it_is_called_applied(machine: Machine):
    machine.do("first")
    assert machine.goes_to("x.test") == "550"
    assert machine.ended(TO_A) == ("applied", "restart")
    assert machine.goes_to("x.test") == "a"
    assert machine.ended(TO_B) == ("applied", "restart")
    assert machine.goes_to("x.test") == "b"


def test_a_relay_taken_out_is_a_table_update_and_no_process_ends(machine: Machine):
    both = relay_map("pool", A.url(), B.url())
    rules = [rule(1, "map:pool", "x.test")]
    machine.do("first")
    assert machine.ended(wanted(1, rules, [both])) == ("applied", "restart")
    before = machine.pids()
    assert machine.ended(wanted(2, rules, [both], out=[("pool", "r0")])) == (
        "applied",
        "table-update",
    )
    assert machine.pids() == before
    assert {machine.goes_to("x.test") for _ in range(4)} == {"b"}


def test_the_same_again_needs_no_reload(machine: Machine):
    machine.do("first")
    machine.ended(TO_A)
    before = machine.pids()
    again = wanted(7, [rule(1, A.url(), "x.test")])
    assert machine.ended(again) == ("applied", "none")
    assert machine.pids() == before
    assert machine.do("look")["observed"]["revision"] == 7


def test_what_smtpd_refuses_is_refused_and_touches_nothing(machine: Machine):
    machine.do("first")
    machine.ended(TO_A)
    before = machine.pids()
    # The operator broke their own file since: smtpd would not come back from a restart.
    machine.smtpd.configure(operator('action "broken" relay nonsense'))
    ended = machine.do("apply", wanted=TO_B)
    assert (ended["state"], ended["reload"]) == ("refused", "none")
    assert "/run/bed/smtpd.conf:" in ended["detail"]
    assert machine.pids() == before
    assert machine.goes_to("x.test") == "a"
    assert not machine.smtpd.namespace.outside(f"{STATE_DIR}/check/smtpd.conf").exists()


def test_a_file_without_our_include_is_told_which_line_to_add(machine: Machine):
    machine.do("first")
    machine.smtpd.configure(operator(include=""))
    ended = machine.do("apply", wanted=TO_A)
    assert ended["state"] == "refused"
    assert f'include "{INCLUDE}"' in ended["detail"]


def test_a_model_that_is_not_the_one_meant_is_refused(machine: Machine):
    machine.do("first")
    forged = TO_A | {"model": TO_B["model"]}
    assert machine.ended(forged) == ("refused", "none")


# What a started smtpd may do beside serving; each only with the generation of TO_B.
HANGS = "exec sleep 600"
DIES = 'echo "fatal: not today"; exit 1'
# Late enough to serve before, if the machine is quick; it may as well be still starting.
DIES_SOON = '(sleep 1; kill -9 $$) & exec /usr/sbin/smtpd "$@"'


def faulty(machine: Machine, fault: str, where: str = B.address) -> str:
    """A real smtpd, but for what it does when it is started with what holds `where`."""
    path = "/run/bed/smtpd-faulty"
    script = f"""#!/bin/sh
case " $* " in *" -n "*|*" -h "*) exec /usr/sbin/smtpd "$@";; esac
if grep -q '{where}' {STATE_DIR}/live/relaymap.conf; then
{fault}
fi
exec /usr/sbin/smtpd "$@"
"""
    machine.smtpd.write(path, script, mode=0o755)
    return path


@pytest.mark.parametrize(
    ("fault", "site", "said"),
    [
        (HANGS, {"apply_limit_s": 5}, "smtpd did not serve within 5 s"),
        (DIES, {}, "fatal: not today"),
        (DIES_SOON, {"settle_s": 1.5}, "smtpd ended"),
    ],
    ids=["hangs", "dies", "dies soon"],
)
def test_a_start_that_fails_is_rolled_back_and_mail_goes_the_old_way(
    machine: Machine, fault: str, site: dict[str, float], said: str
):
    machine.do("first")
    assert machine.ended(TO_A) == ("applied", "restart")
    machine.site(smtpd=faulty(machine, fault), **site)
    ended = machine.do("apply", wanted=TO_B)
    assert (ended["state"], ended["reload"]) == ("rolled-back", "restart")
    assert said in ended["detail"]
    assert machine.goes_to("x.test") == "a"
    report = machine.do("look")
    assert (report["state"], report["observed"]["revision"]) == ("live", 1)


def test_mail_that_the_new_generation_took_before_it_died_is_not_stranded(machine: Machine):
    """It is queued under actions that the old generation never had."""
    until_taken = "until grep -rqs rm-r2 /var/spool/smtpd/queue; do sleep 0.05; done"
    dies_late = f'({until_taken}; kill -9 $$; >/run/bed/died) & exec /usr/sbin/smtpd "$@"'
    smtpd = faulty(machine, dies_late, 'match.*"rm-r2"')
    machine.do("first")
    machine.ended(TO_A)
    machine.site(smtpd=smtpd)
    machine.sinks.behave("b", {"mail": "450 4.3.0 later"})
    rules = [rule(2, "map:pool", "y.test"), rule(3, B.url(), "z.test")]
    push = wanted(2, rules, [relay_map("pool", B.url())])
    until_dead = {"observe": "until [ -e /run/bed/died ]; do sleep 0.05; done"}
    with ThreadPoolExecutor(1) as beside:
        ending = beside.submit(machine.do, "apply", wanted=push, run_at=until_dead)
        # It may be killed before it has said that it took it.
        machine.wait_until_taken("y.test", machine.namespace.outside("/run/bed/died").exists)
        ended = ending.result()
    assert ended["state"] == "rolled-back"
    assert machine.goes_to("x.test") == "a"
    assert machine.goes_to("y.test") == "550"
    assert [stone["action"] for stone in machine.do("look")["tombstones"]] == ["rm-r2"]
    machine.sinks.behave("b")
    machine.deliver(1, lambda delivery: delivery.sink == "b")


def test_an_smtpd_that_was_not_started_anew_is_not_called_served(machine: Machine):
    """It answers and greets as ever: only that it is the process of before gives it away."""
    machine.do("first")
    machine.ended(TO_A)
    before = machine.pids()
    machine.site(idle=True)
    ended = machine.do("apply", wanted=TO_B)
    assert (ended["state"], ended["reload"]) == ("rolled-back", "restart")
    assert "the one from before" in ended["detail"]
    assert machine.pids() == before
    assert machine.goes_to("x.test") == "a"
    assert machine.do("look")["observed"] is None, "the old one was not seen to serve again"


POOLED = [rule(1, "map:pool", "x.test")]
POOL = [relay_map("pool", A.url(), B.url())]


@pytest.mark.parametrize("step", ["reload", "observe"])
@pytest.mark.parametrize(
    ("push", "reload", "changed"),
    [
        (wanted(2, [rule(1, B.url(), "x.test")]), "restart", "relaymap.conf"),
        (wanted(2, POOLED, POOL, out=[("pool", "r0")]), "table-update", "m-pool"),
    ],
    ids=["restart", "table update"],
)
def test_bytes_that_nobody_checked_are_not_called_served(
    machine: Machine, push: dict[str, object], reload: str, changed: str, step: str
):
    """Somebody changes a file after the check, before or after smtpd has read it."""
    machine.do("first")
    machine.ended(wanted(1, POOLED, POOL, out=[("pool", "r1")]))
    by_hand = f"test -f {STATE_DIR}/live/{changed} && echo '# by hand' >>{STATE_DIR}/live/{changed}"
    ended = machine.do("apply", wanted=push, run_at={step: by_hand})
    assert (ended["state"], ended["reload"]) == ("rolled-back", reload)
    assert "not the ones that were checked" in ended["detail"]
    assert machine.goes_to("x.test") == "a"
    report = machine.do("look")
    assert (report["state"], report["observed"]["revision"]) == ("live", 1)


def test_a_table_that_smtpd_cannot_read_again_is_rolled_back(machine: Machine):
    """smtpd reads it as its own unprivileged user: a directory closed to it is enough."""
    both = relay_map("pool", A.url(), B.url())
    rules = [rule(1, "map:pool", "x.test")]
    machine.do("first")
    machine.ended(wanted(1, rules, [both]))
    generations = machine.smtpd.namespace.outside(f"{STATE_DIR}/generations")
    generations.chmod(0o700)
    ended = machine.do("apply", wanted=wanted(2, rules, [both], out=[("pool", "r0")]))
    assert (ended["state"], ended["reload"]) == ("rolled-back", "table-update")
    assert machine.do("look")["observed"]["revision"] == 1
    generations.chmod(0o710)
    assert machine.ended(wanted(3, rules, [both], out=[("pool", "r0")]))[0] == "applied"


def test_an_action_that_the_operator_took_away_is_not_lost_in_our_restart(machine: Machine):
    own = (
        f'action "shop" relay host "{C.url()}"',
        'match from any for domain "s.test" action "shop"',
    )
    machine.smtpd.configure(operator(*own))
    machine.do("first")
    machine.ended(TO_A)
    machine.smtpd.configure(operator())
    ended = machine.do("apply", wanted=TO_B)
    assert ended["state"] == "refused"
    assert "shop" in ended["detail"]
    assert machine.goes_to("s.test") == "c"
    machine.smtpd.configure(operator(own[0]))
    assert machine.ended(TO_B | {"push": 3}) == ("applied", "restart")


def test_a_file_changed_by_hand_is_reported_kept_and_replaced_at_the_next_push(machine: Machine):
    machine.do("first")
    machine.ended(TO_A)
    conf = machine.namespace.outside(f"{STATE_DIR}/generations/2/relaymap.conf")
    changed = conf.read_text() + "# by hand\n"
    conf.write_text(changed)
    report = machine.do("look")
    assert (report["state"], report["detail"]) == ("drifted", "changed by hand: relaymap.conf")
    assert machine.do("look")["state"] == "drifted"
    assert conf.read_text() == changed
    assert machine.ended(wanted(2, [rule(1, A.url(), "x.test")])) == ("applied", "restart")
    assert machine.detail.startswith("changed by hand, kept")
    assert machine.do("look")["state"] == "live"
    assert "by hand" not in machine.read(INCLUDE)
    assert "by hand" in machine.read(f"{STATE_DIR}/drifted/2-relaymap.conf")


def test_an_smtpd_that_does_not_run_is_started_by_a_push(machine: Machine):
    machine.do("first")
    machine.ended(TO_A)
    machine.end_smtpd()
    assert machine.do("look")["state"] == "stopped"
    assert machine.ended(wanted(2, [rule(1, A.url(), "x.test")])) == ("applied", "restart")
    assert machine.goes_to("x.test") == "a"


@pytest.mark.parametrize(
    "spoil", [lambda s: s | {"revision": 2}, lambda s: s | {"password": "a\nb"}]
)
def test_a_credential_that_does_not_fit_the_routing_is_refused(
    machine: Machine, spoil: Callable[[dict[str, object]], dict[str, object]]
):
    secret = {"label": "lab", "revision": 1, "username": "u", "password": "p"}
    credential = {"label": "lab", "revision": 1, "hosts": ["127.0.1.11"], "allow_unverified": False}
    rules = [rule(1, "smtps://lab@127.0.1.11:26465", "x.test")]
    machine.do("first")
    refused = wanted(1, rules, credentials=[credential], secrets=[spoil(secret)])
    assert machine.ended(refused) == ("refused", "none")
    missing = wanted(2, rules, credentials=[credential], secrets=[])
    assert machine.ended(missing) == ("refused", "none")
    elsewhere = wanted(
        3, rules, credentials=[credential | {"hosts": ["mx.test"]}], secrets=[secret]
    )
    assert machine.ended(elsewhere) == ("refused", "none")
    assert (
        machine.ended(wanted(4, rules, credentials=[credential], secrets=[secret]))[0] == "applied"
    )


def test_the_report_says_what_the_operator_declares(machine: Machine):
    machine.do("first")
    report = machine.do("look")
    assert report["certificates"] == ["listener"]
    assert report["version"].startswith(("6.", "7."))
    assert {"127.0.0.1", "::1", "203.0.113.5"} <= set(report["addresses"])
    assert report["observed"] is None
    assert report["state"] == "live"
