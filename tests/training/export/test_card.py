"""The model card: every fact has its place, and what nobody recorded is said to be missing."""

from training.export.card import UNKNOWN, CardFacts, CardModel, render_card

MODEL = CardModel(
    name="vehicles",
    version="3",
    variant="tiny",
    class_names=("Car", "Bus"),
    input_shapes=((384, 640),),
    max_candidates=1000,
    sha256="ab" * 32,
    size=12_100_000,
    checks=("It was checked.",),
)


def test_every_fact_is_told() -> None:
    facts = CardFacts(
        description="Finds cars.",
        data="Photos",
        data_licence="CC BY 4.0",
        credit="Their author",
        weights_licence="Apache-2.0",
        commit="abc123",
        hours=1.25,
        hardware="two cores",
        settings={"epochs": 30},
        average_precision={"AP": 0.4567},
        protocol="Protocol served",
        limits=("No night.", "No snow."),
    )
    card = render_card(MODEL, facts)
    told = ["Finds cars.", "Photos", "CC BY 4.0", "Their author", "Apache-2.0", "`abc123`", "1.2 h", "two cores"]
    told += ["| epochs | 30 |", "| AP | 45.7 |", "Protocol served.", "- No night.\n- No snow.", "384×640", "12.1 MB"]
    assert [fact for fact in told if fact not in card] == []
    assert UNKNOWN not in card


def test_gaps_are_told() -> None:
    card = render_card(MODEL, CardFacts())
    assert card.startswith("# vehicles, version 3\n\nYOLOv7 (tiny) detecting Car, Bus.\n")
    assert card.lower().count(UNKNOWN) == 9


def test_cells_stay_cells() -> None:
    card = render_card(MODEL, CardFacts(data="a | b\nc"))
    assert "| data | a \\| b c |" in card
