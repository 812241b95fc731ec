"""The normal form of functions on keys."""

from random import Random

from app.render.opensmtpd.key_map import Join, KeyMap

ALPHABET = "ab"
KEYS = [""]
for _length in range(5):
    KEYS += [c + k for k in KEYS for c in ALPHABET if len(k) == _length]


def painted(random: Random) -> KeyMap[int]:
    keys = KeyMap(random.choice([0, 1]))
    for _ in range(random.randint(0, 6)):
        text = "".join(random.choices(ALPHABET, k=random.randint(0, 3)))
        value = random.choice([0, 1])
        paint = random.choice([keys.paint_one, keys.paint_ending, keys.paint_longer])
        if random.random() < 0.3:
            keys.paint_other(text, random.choice(["a", "b", "ab"]), value)
        else:
            paint(text, value)
    return keys


def test_two_functions_have_one_normal_form_just_if_they_agree_on_every_key() -> None:
    random = Random(3)
    equal = 0
    for _ in range(4000):
        one, two = painted(random), painted(random)
        # 'x' stands for every character that no painted text has; "" is no key here.
        asked = [key for key in KEYS if key] + [f"x{key}" for key in KEYS]
        agree = all(one.value(key) == two.value(key) for key in asked)
        assert (one.normal(bool) == two.normal(bool)) == agree
        equal += agree
    assert equal > 40


def test_what_is_no_key_does_not_count() -> None:
    one, two = KeyMap(value=True), KeyMap(value=True)
    one.paint_one("a", value=False)
    assert one.normal(lambda key: key != "a") == two.normal(lambda key: key != "a")
    assert one.normal(bool) != two.normal(bool)


def test_a_join_gives_each_key_what_its_two_values_make() -> None:
    random = Random(5)
    join: Join[int] = Join(max, keeps_first=frozenset({0}), keeps_second=frozenset({0}))
    for _ in range(500):
        one, two = painted(random), painted(random)
        wanted = {key: max(one.value(key), two.value(key)) for key in KEYS}
        joined = one.joined(two, join)
        assert {key: joined.value(key) for key in KEYS} == wanted
