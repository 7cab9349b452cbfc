"""Who a person is: body, hair, garments and bag, drawn once per identity."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

FAMILY_SIZE = 4
_FAMILY, _MEMBER, _STRANGER = 1, 2, 3

COLOURS = {
    'black': (34, 33, 37), 'white': (232, 232, 228), 'grey': (134, 136, 140),
    'red': (186, 42, 46), 'blue': (48, 88, 180), 'navy': (36, 46, 92),
    'light blue': (138, 178, 218), 'green': (48, 126, 72), 'olive': (92, 96, 58),
    'yellow': (226, 194, 62), 'orange': (220, 124, 46), 'purple': (112, 66, 142),
    'pink': (226, 142, 166), 'brown': (108, 72, 48), 'beige': (206, 186, 150),
    'turquoise': (52, 158, 162)}
HAIR_COLOURS = {
    'black': (32, 27, 26), 'dark brown': (62, 43, 32), 'brown': (101, 70, 46),
    'blond': (198, 160, 98), 'red': (142, 70, 38), 'grey': (156, 155, 154)}
SKINS = ((241, 205, 178), (228, 184, 150), (206, 156, 118), (172, 122, 88), (128, 86, 62),
         (88, 58, 44))

_UPPER_COLOURS = ('black', 'white', 'grey', 'red', 'blue', 'navy', 'light blue', 'green', 'olive',
                  'yellow', 'orange', 'purple', 'pink', 'brown', 'beige', 'turquoise')
_LOWER_COLOURS = ('black', 'navy', 'blue', 'grey', 'beige', 'brown', 'olive', 'white', 'red')
_SHOE_COLOURS = ('black', 'white', 'brown', 'grey', 'red', 'blue', 'beige')
_DETAILS = ('upper colour', 'lower colour', 'pattern', 'hair colour', 'hair style', 'shoes', 'bag',
            'hat', 'glasses', 'second colour')


@dataclass(frozen=True)
class Colour:
    """A colour's everyday name and its exact RGB value."""

    name: str
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Garment:
    """A piece of clothing: what it is, its colours and its pattern."""

    kind: str
    colour: Colour
    second: Colour
    pattern: str = 'plain'


@dataclass(frozen=True)
class Look:
    """All that stays the same over an identity's images. Lengths are fractions of the stature."""

    gender: str
    age: str
    height: float  # metres
    head: float
    build: float
    shoulder: float
    hip: float
    leg: float
    stoop: float  # radians
    skin: tuple[int, int, int]
    hair_style: str
    hair: Colour
    hat: Garment | None
    glasses: str | None
    upper: Garment
    coat: Garment | None
    lower: Garment
    sleeve: str
    shoes: Garment
    socks: Colour | None
    scarf: Colour | None
    gloves: Colour | None
    bag: Garment | None

    @property
    def hair_length(self) -> str:
        return 'long' if self.hair_style in ('long', 'ponytail') else 'short'

    @property
    def outermost(self) -> Garment:
        """The garment that covers the torso."""
        return self.coat or self.upper

    def attributes(self) -> dict[str, str]:
        """Values of the default vocabulary's attributes, but for the viewpoint."""
        lower = 'skirt' if self.upper.kind == 'dress' else self.lower.kind
        bag = 'without bag' if self.bag is None else (
            'backpack' if self.bag.kind == 'backpack' else 'bag')
        return {
            'gender': self.gender,
            'age': self.age,
            'hat': 'without hat' if self.hat is None else 'hat',
            'glasses': 'without glasses' if self.glasses is None else 'glasses',
            'hair length': f'{self.hair_length} hair',
            'sleeve': f'{self.sleeve} sleeves',
            'lower garment': lower,
            'bag': bag,
        }

    def facts(self) -> dict[str, str | None]:
        """Names of garments and colours, as a caption would use them; None where absent."""
        outer, dress = self.outermost, self.upper.kind == 'dress'
        return {
            'gender': self.gender,
            'age': self.age,
            'hair style': self.hair_style,
            'hair colour': self.hair.name,
            'hat': self.hat and self.hat.kind,
            'hat colour': self.hat and self.hat.colour.name,
            'glasses': self.glasses,
            'upper': outer.kind,
            'upper colour': outer.colour.name,
            'upper second colour': None if outer.pattern == 'plain' else outer.second.name,
            'upper pattern': outer.pattern,
            'inner upper': self.upper.kind if self.coat else None,
            'inner upper colour': self.upper.colour.name if self.coat else None,
            'sleeve': self.sleeve,
            'lower': 'dress' if dress else self.lower.kind,
            'lower colour': (self.upper if dress else self.lower).colour.name,
            'lower pattern': (self.upper if dress else self.lower).pattern,
            'shoes': self.shoes.kind,
            'shoes colour': self.shoes.colour.name,
            'bag': self.bag and self.bag.kind,
            'bag colour': self.bag and self.bag.colour.name,
            'scarf colour': self.scarf and self.scarf.name,
            'gloves colour': self.gloves and self.gloves.name,
        }


def _jitter(rng: np.random.Generator, rgb: tuple[int, int, int],
            spread: float = 11) -> tuple[int, int, int]:
    common, own = rng.normal(0, spread), rng.normal(0, spread / 2, 3)
    return tuple(int(np.clip(value + common + delta, 8, 247))
                 for value, delta in zip(rgb, own, strict=True))


def _colour(rng: np.random.Generator, names: tuple[str, ...], other_than: str = '') -> Colour:
    names = tuple(name for name in names if name != other_than)
    name = names[rng.integers(len(names))]
    return Colour(name, _jitter(rng, COLOURS[name]))


def _pick(rng: np.random.Generator, **weights: float) -> str:
    values = np.cumsum(list(weights.values()))
    index = int(np.searchsorted(values, rng.random() * values[-1], side='right'))
    return list(weights)[index].replace('_', ' ')


def _hair_colour(rng: np.random.Generator, age: str, other_than: str = '') -> Colour:
    if age == 'elderly' and rng.random() < 0.85 and other_than != 'grey':
        name = 'grey'
    else:
        names = [name for name in HAIR_COLOURS if name not in ('grey', other_than)]
        weights = np.array([4, 4, 3, 2, 1][:len(names)], float)
        name = names[rng.choice(len(names), p=weights / weights.sum())]
    return Colour(name, _jitter(rng, HAIR_COLOURS[name], 9))


def _hair_style(rng: np.random.Generator, gender: str, age: str) -> str:
    if gender == 'female':
        return _pick(rng, long=5 if age != 'elderly' else 2, ponytail=2.5, bob=2, bun=1, short=1)
    return _pick(rng, short=8, bob=.7, long=.5, bald=1.5 if age == 'elderly' else .5)


def _hat(rng: np.random.Generator) -> Garment:
    colour = _colour(rng, tuple(COLOURS))
    return Garment(_pick(rng, cap=4, beanie=2, sun_hat=2), colour,
                   _colour(rng, tuple(COLOURS), colour.name))


def _bag(rng: np.random.Generator, gender: str) -> Garment:
    kind = _pick(rng, backpack=5, shoulder_bag=3, handbag=3.5 if gender == 'female' else 1)
    colour = _colour(rng, tuple(COLOURS))
    return Garment(kind, colour, _colour(rng, tuple(COLOURS), colour.name))


def _shoes(rng: np.random.Generator, gender: str) -> Garment:
    colour = _colour(rng, _SHOE_COLOURS)
    return Garment(_pick(rng, sneakers=5, shoes=3, boots=2.6 if gender == 'female' else 1.4),
                   colour, _colour(rng, _SHOE_COLOURS, colour.name))


def _pattern(rng: np.random.Generator, kind: str) -> str:
    if kind == 'dress':
        return _pick(rng, plain=5, stripes=2, dots=2, plaid=1)
    if kind in ('coat', 'jacket'):
        return _pick(rng, plain=7, splice=2, plaid=1)
    return _pick(rng, plain=4, stripes=2, plaid=1.6, splice=1.8, logo=2)


def _family_look(rng: np.random.Generator) -> Look:
    gender = _pick(rng, male=1, female=1)
    age = _pick(rng, adult=6, child=2, elderly=2)
    warm = rng.random() < 0.55
    dress = gender == 'female' and rng.random() < 0.16
    has_coat = not warm and rng.random() < 0.6
    upper_kind = 'dress' if dress else (
        _pick(rng, t_shirt=5, shirt=2, polo=1.5) if warm
        else _pick(rng, sweater=4, hoodie=3, shirt=3))
    upper_kind = upper_kind.replace('t shirt', 't-shirt')
    upper_colour = _colour(rng, _UPPER_COLOURS)
    upper = Garment(upper_kind, upper_colour, _colour(rng, _UPPER_COLOURS, upper_colour.name),
                    _pattern(rng, upper_kind))
    coat = None
    if has_coat and not dress:
        coat_colour = _colour(rng, _UPPER_COLOURS, upper_colour.name)
        kind = _pick(rng, jacket=5, coat=4)
        coat = Garment(kind, coat_colour, _colour(rng, _UPPER_COLOURS, coat_colour.name),
                       _pattern(rng, kind))
    skirt = gender == 'female' and rng.random() < 0.25
    lower_kind = 'skirt' if skirt else (
        _pick(rng, shorts=4, trousers=5) if warm else 'trousers')
    lower_colour = _colour(rng, _LOWER_COLOURS)
    lower = Garment(lower_kind, lower_colour,
                    _colour(rng, ('white', 'red', 'yellow', 'grey', 'black'), lower_colour.name),
                    _pick(rng, plain=8, side_stripe=1.2 if lower_kind != 'skirt' else 0,
                          plaid=1, dots=.8))
    style = _hair_style(rng, gender, age)
    old = age == 'elderly'
    return Look(
        gender=gender, age=age, height=1.7, head=.133, build=1., shoulder=.1, hip=.06, leg=.52,
        stoop=0., skin=SKINS[rng.integers(len(SKINS))], hair_style=style,
        hair=_hair_colour(rng, age), hat=_hat(rng) if rng.random() < .25 else None,
        glasses=(_pick(rng, glasses=3, sunglasses=1) if rng.random() < (.45 if old else .25)
                 else None),
        upper=upper, coat=coat, lower=lower, sleeve='short' if warm else 'long',
        shoes=_shoes(rng, gender),
        socks=_colour(rng, ('white', 'black', 'grey', 'red')) if rng.random() < .5 else None,
        scarf=_colour(rng, _UPPER_COLOURS) if not warm and rng.random() < .2 else None,
        gloves=(_colour(rng, ('black', 'brown', 'red', 'grey'))
                if not warm and rng.random() < .15 else None),
        bag=_bag(rng, gender) if rng.random() < .5 else None)


def _change(look: Look, detail: str, rng: np.random.Generator) -> Look:
    """Alter one detail, always to something else."""
    if detail in ('upper colour', 'pattern', 'second colour'):
        garment = look.outermost
        if detail == 'upper colour':
            garment = replace(garment, colour=_colour(rng, _UPPER_COLOURS, garment.colour.name))
        elif detail == 'second colour' and garment.pattern != 'plain':
            garment = replace(garment, second=_colour(rng, _UPPER_COLOURS, garment.second.name))
        else:
            pattern = garment.pattern
            while pattern == garment.pattern:
                pattern = _pattern(rng, garment.kind)
            garment = replace(garment, pattern=pattern)
        return replace(look, coat=garment) if look.coat else replace(look, upper=garment)
    if detail == 'lower colour':
        lower = replace(look.lower, colour=_colour(rng, _LOWER_COLOURS, look.lower.colour.name))
        return replace(look, lower=lower)
    if detail == 'hair colour':
        return replace(look, hair=_hair_colour(rng, look.age, look.hair.name))
    if detail == 'hair style':
        style = look.hair_style
        while style == look.hair_style:
            style = _hair_style(rng, look.gender, look.age)
        return replace(look, hair_style=style)
    if detail == 'shoes':
        shoes = look.shoes
        while shoes.colour.name == look.shoes.colour.name:
            shoes = _shoes(rng, look.gender)
        return replace(look, shoes=shoes)
    if detail == 'bag':
        if look.bag is not None and rng.random() < .5:
            return replace(look, bag=None)
        bag = _bag(rng, look.gender)
        while look.bag is not None and bag.colour.name == look.bag.colour.name:
            bag = _bag(rng, look.gender)
        return replace(look, bag=bag)
    if detail == 'hat':
        return replace(look, hat=None if look.hat else _hat(rng))
    return replace(look, glasses=None if look.glasses else _pick(rng, glasses=3, sunglasses=1))


def _own_body(look: Look, rng: np.random.Generator) -> Look:
    """Body measures, skin and the exact shade of the hair: different for every member."""
    female, child = look.gender == 'female', look.age == 'child'
    shoulder = rng.normal(.091 if female else .104, .0042) * (.93 if child else 1)
    hip = rng.normal(.062 if female else .055, .003) * (.95 if child else 1)
    head = rng.normal(.170, .008) if child else rng.normal(.134, .004)
    height = (rng.uniform(1.05, 1.45) if child
              else rng.normal(1.64 if female else 1.76, .06) - (look.age == 'elderly') * .05)
    return replace(
        look, height=float(height), head=float(np.clip(head, .124, .19)),
        build=float(np.clip(rng.normal(1.03, .12), .82, 1.35)),
        shoulder=float(shoulder), hip=float(hip),
        leg=float(rng.normal(.485 if child else .515, .008)),
        stoop=float(rng.uniform(.08, .28)) if look.age == 'elderly' else float(rng.uniform(0, .06)),
        skin=_jitter(rng, look.skin, 5),
        hair=replace(look.hair, rgb=_jitter(rng, look.hair.rgb, 5)))


def draw_look(seed: int, identity: int) -> Look:
    """Draw the look of one identity of one seed.

    Identities come in families of four: a family shares gender, age group, garments and colours;
    each member differs from the common look in two details of his own, and in his body measures.

    Args:
        seed: Seed of the data set, 0 <= seed < 2**32. Another seed shares no identity with this.
        identity: Number of the identity, >= 0.
    """
    family, member = divmod(identity, FAMILY_SIZE)
    rng = np.random.default_rng([seed, _FAMILY, family])
    look = _family_look(rng)
    details = rng.permutation(len(_DETAILS))[2 * member:2 * member + 2]
    rng = np.random.default_rng([seed, _MEMBER, identity])
    for detail in details:
        look = _change(look, _DETAILS[detail], rng)
    return _own_body(look, rng)


def draw_stranger(seed: int, number: int) -> Look:
    """Draw somebody who is none of the seed's identities: a passer-by."""
    rng = np.random.default_rng([seed, _STRANGER, number])
    return _own_body(_family_look(rng), rng)
