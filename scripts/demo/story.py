"""The steps of the demonstration, in order; each docstring is the line that is printed for it."""

from collections.abc import Callable

from scripts.demo.flow import NotAsTold
from scripts.demo.site import AGENT_STATE, CA_FILE, DOMAIN, MTA, PARTNER, POOL, PORT, Site

_TURN_S = 40
"""For health to see that a relay went or came: looks at one that is down are 5 s apart."""


def set_up(site: Site) -> None:
    """A server; an agent beside a real smtpd, with the table program; relays a, b, c and d."""
    site.start_server()
    print(f"   the server answers on 127.0.0.1:{PORT}, inside its own namespace")
    site.call("PUT", f"/v1/mtas/{MTA}", {"driver": "opensmtpd"}, 201)
    made = site.call("POST", f"/v1/mtas/{MTA}/token", status=201)
    site.start_agent(made["token"])
    print(f'   smtpd.conf ends in: include "{AGENT_STATE}/live/relaymap.conf"')
    status = site.call("GET", f"/v1/mtas/{MTA}/status")
    print(f"   OpenSMTPD {status['version']} is {status['state']}")


def route(site: Site) -> None:
    """A map with weights, and a table for domains that go elsewhere: the one push that restarts."""
    relays = [
        {"name": sink.name, "url": sink.url(), "weight": 2 if sink.name == "c" else 1}
        for sink in POOL
    ]
    site.call("PUT", "/v1/relay-maps/pool", {"policy": "ratio", "relays": relays}, 201)
    site.call("PUT", "/v1/tables/partners", {"key": "recipient-domain"}, 201)
    for name, via, priority in (("partners", "table:partners", 100), ("rest", "map:pool", 200)):
        rule = {"priority": priority, "match": {}, "action": {"kind": "relay", "via": via}}
        site.call("PUT", f"/v1/rules/{name}", rule, 201)
    site.call("GET", f"/v1/resolve?recipient=u@{DOMAIN}")
    site.call("POST", "/v1/pushes?wait=30", {})
    site.served_by = tuple(site.smtpd.pids())
    print(f"   smtpd is processes {', '.join(map(str, site.served_by))}; remember them")


def flow(site: Site) -> None:
    """Mail begins to flow, and does not stop until the end. Each # is two messages of a second."""
    site.flow.start()
    site.flow.shares({"a": 1, "b": 1, "c": 2}, 6)


def change_weights(site: Site) -> None:
    """Other weights, while mail flows: nothing is restarted."""
    for name, weight in (("a", 3), ("c", 1)):
        site.call("PATCH", f"/v1/relay-maps/pool/relays/{name}", {"weight": weight})
    site.call("POST", "/v1/pushes?wait=30", {})
    site.flow.shares({"a": 3, "b": 1, "c": 1}, 6)
    site.same_smtpd()


def lose_a_relay(site: Site) -> None:
    """Relay b is killed, and nobody tells. Mail that met it arrives elsewhere, seconds later."""
    site.relays.kill("b")
    site.flow.watch(_TURN_S, lambda: site.agent_said("relay-down", "b") > 0)
    print("   the agent says that b is down")
    first = site.flow.sent
    site.flow.watch(4)
    if site.flow.arrived(first, site.flow.sent)["b"]:
        raise NotAsTold("b is dead and took mail")


def send_elsewhere(site: Site) -> None:
    """Meanwhile a domain gets a relay of its own: one entry, which could be one of a million."""
    site.call("PUT", f"/v1/tables/partners/entries/{DOMAIN}?push=wait", {"via": PARTNER.url()}, 201)
    site.flow.watch(3)
    health = site.call("GET", "/v1/relay-maps/pool/health?relay=b")["relays"][0]["mtas"][0]
    print(f"   b is {health['health']} as {health['mta']} sees it, and why: {health['cause']}")
    site.call("DELETE", f"/v1/tables/partners/entries/{DOMAIN}?push=wait", status=204)
    site.same_smtpd()


def give_back(site: Site) -> None:
    """Relay b is started again, and gets its share back by itself."""
    site.relays.start("b")
    site.flow.watch(_TURN_S, lambda: site.agent_said("relay-up", "b") > 0)
    print("   the agent says that b is up")
    site.flow.shares({"a": 3, "b": 1, "c": 1}, 5)
    site.same_smtpd()


def take_out(site: Site) -> None:
    """Relay a goes out of service, on purpose. When can its machine go? Health says."""
    state = {"state": "out", "reason": "its disk is full"}
    site.call("PUT", "/v1/relay-maps/pool/relays/a/state?push=wait", state)
    site.flow.shares({"a": 0, "b": 1, "c": 1}, 4)
    site.call("GET", f"/v1/resolve?recipient=u@{DOMAIN}&mta={MTA}")
    health = site.call("GET", "/v1/relay-maps/pool/health?relay=a")["relays"][0]
    safe = "yes" if health["safe_to_delete"] else "not yet"
    print(f"   safe to delete: {safe}; {health['mtas'][0]['detail']}")


def be_refused(site: Site) -> None:
    """A push that smtpd refuses, since the CA that it names lost its file: the old serves on."""
    ca = site.namespace.outside(CA_FILE)
    kept = ca.rename(ca.with_suffix(".lost"))
    rule = {
        "match": {"recipients": ["partner.example"]},
        "action": {"kind": "relay", "via": "tls://127.0.1.11", "ca": "partner"},
    }
    site.call("PUT", "/v1/rules/partner?push=wait", rule, 424)
    kept.rename(ca)
    site.flow.shares({"a": 0, "b": 1, "c": 1}, 3)


def restore(site: Site) -> None:
    """Revision 4 is restored, the first weights; a stays out, for that is operation."""
    site.call("POST", "/v1/revisions/4/restore?push=wait", {})
    site.flow.shares({"a": 0, "b": 1, "c": 2}, 4)
    site.flow.stop()
    print(f"   {site.flow.sent} messages were sent, none was refused, and all have arrived")
    site.same_smtpd()
    print(f"   smtpd is processes {', '.join(map(str, site.served_by))}: the same as at the start")


STEPS: tuple[Callable[[Site], None], ...] = (
    set_up,
    route,
    flow,
    change_weights,
    lose_a_relay,
    send_elsewhere,
    give_back,
    take_out,
    be_refused,
    restore,
)
