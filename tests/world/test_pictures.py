"""Pictures of the program's own environments: one set of scales an episode, one colour bar each, everything explained, nothing overlaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perla_net.world.environments import make
from perla_net.world.networked import drawing
from perla_net.world.networked.drawing import Cells, Lines, Marks, Painter, Scale, Scene, Texts, rounded_ends

ENVIRONMENTS = {
    "traffic:grid:demand=6": 4,
    "traffic:sioux_falls.graphml": None,
    "platoon:catchup": 3,
    "platoon:slowdown": 3,
    "wireless:grid": 6,
    "voltage:ieee33": None,
    "spread": 3,
    "games:climbing": 2,
    "games:ipd:graph=ring": 4,
    "games:two_step": 2,
    "games:tandem": 2,
    "games:hamiltonian:graph=line": 3,
    "games:convention:horizon=5": 5,
    "games:additive:horizon=5": 4,
    "games:squeeze:horizon=5": 4,
    "games:targets:horizon=5": 4,
    "games:targets:horizon=5,kind=mean": 4,
}


def episode(env: str, agents: int | None, steps: int = 12) -> tuple[object, list[Scene]]:
    """The environment after so many random steps, and the scenes of its second copy."""
    batch = make(env, 2, agents)
    batch.reset(np.arange(2), [np.random.SeedSequence(seed) for seed in (1, 2)])
    rng, scenes = np.random.default_rng(0), [batch.scene(1)]
    for _ in range(steps):
        actions = [
            rng.integers(0, agent.action.sizes[0], 2)
            if agent.action.kind == "discrete"
            else rng.uniform(-1, 1, 2).astype(np.float32)
            for agent in batch.spec.agents
        ]
        batch.step(actions)
        scenes.append(replace(batch.scene(1), told="return 0"))
        if (batch.terminated[1] | batch.truncated[1]).all():
            break
    return batch, scenes


def boxes(painter: Painter) -> list:
    """Where panels with their names, colour bars, legend and texts are on the figure, in dots."""
    renderer = painter.canvas.get_renderer()
    parts = [*painter.panels, *painter.bars]
    found = [part.get_tightbbox(renderer) for part in parts]
    return found + [part.get_window_extent(renderer) for part in (*painter.figure.legends, *painter.figure.texts)]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_a_film_has_one_set_of_scales_and_explains_itself(env):
    batch, scenes = episode(env, ENVIRONMENTS[env])
    for panels in (1, min(4, len(scenes))):
        painter = Painter(scenes, panels, "about")
        assert len(painter.bars) == len(painter.scales), "one colour bar for each scale, however many panels"
        entries = {text.get_text() for legend in painter.figure.legends for text in legend.get_texts()}
        for scene in scenes:
            for layer in scene.layers:
                if isinstance(layer, (Lines, Marks)) and len(layer.ends if isinstance(layer, Lines) else layer.places):
                    assert not layer.label or any(entry.startswith(layer.label) for entry in entries)
                    assert layer.label or layer.colour in (drawing.PALE, drawing.INK), "roads and ends of headways only"
                if getattr(layer, "scale", None) and np.size(layer.values):
                    low, high = painter.scales[layer.scale]
                    assert low <= np.min(layer.values) and np.max(layer.values) <= high
                if isinstance(layer, Texts):
                    assert scene.note or scene.title.startswith(("voltage", "games:two_step")), "numbers are explained"
        assert all(isinstance(scene.note, str) and scene.note == scenes[-1].note for scene in scenes)
        width, height = painter.figure.canvas.get_width_height()
        found = boxes(painter)
        for number, one in enumerate(found):
            assert one.x0 > -2 and one.y0 > -2 and one.x1 < width + 2 and one.y1 < height + 2, "within the figure"
            for other in found[number + 1 :]:
                across = min(one.x1, other.x1) - max(one.x0, other.x0)
                assert across < 1 or min(one.y1, other.y1) - max(one.y0, other.y0) < 1, "nothing overlaps"
    picture = batch.picture(1)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.std() > 5


def test_frames_are_of_one_size_and_can_be_drawn_in_any_order():
    _, scenes = episode("spread", 3)
    frames = list(drawing.frames(scenes))
    assert len(frames) == len(scenes) and len({frame.shape for frame in frames}) == 1
    painter = Painter(scenes, 1)
    for number in (4, 0, 4):  # nothing of a frame is left in the next
        assert np.array_equal(painter.paint([number]), frames[number])
    assert not np.array_equal(frames[0], frames[4])
    sheet = drawing.sheet(scenes, 9)
    assert sheet.shape[1] > frames[0].shape[1] and sheet.std() > 5
    # Nothing that happens later changes what an environment has told.
    _, longer = episode("spread", 3, 14)
    assert np.array_equal(longer[3].layers[0].places, scenes[3].layers[0].places)


def test_values_are_those_of_the_episode():
    batch, scenes = episode("traffic:grid:demand=6", 4, 40)
    queues = batch.queue[1].sum(2).ravel()
    coloured = next(layer for layer in scenes[-1].layers if isinstance(layer, Lines) and layer.scale)
    assert coloured.values.tolist() == queues[queues > 0].tolist()
    share = np.linalg.norm(coloured.ends[:, 1] - coloured.ends[:, 0], axis=1)
    roads = np.linalg.norm(np.subtract(*scenes[-1].layers[0].ends.transpose(1, 0, 2)), axis=1)
    assert np.allclose(share, (roads * queues / 78)[queues > 0], atol=1e-9)
    full = next(layer for layer in scenes[-1].layers if getattr(layer, "label", "").startswith("road full"))
    assert len(full.places) == (batch.on_link()[1] >= 78).sum() > 0
    green = next(layer for layer in scenes[-1].layers if getattr(layer, "label", "") == "green: may pass")
    assert len(green.ends) == sum(4 if phase in (0, 2) else 2 if phase in (1, 3) else 3 for phase in batch.phase[1])

    batch, scenes = episode("wireless:grid", 6)
    lines = {layer.label: len(layer.ends) for layer in scenes[-1].layers if isinstance(layer, Lines)}
    assert lines["packet delivered"] == batch.served[1].sum()
    sent = sum(lines[label] for label in ("packet delivered", "collision", "alone, but nothing arrived"))
    assert sent == batch.senders[1].sum()
    assert lines["collision"] == batch.senders[1][batch.senders[1] > 1].sum()

    batch, scenes = episode("games:climbing", 2)
    table, frame = scenes[-1].layers
    row, column = batch.last[1]
    assert isinstance(table, Cells) and float(table.texts[row][column]) == batch.reward[1, 0]
    assert np.allclose(frame.ends.reshape(-1, 2).mean(0), [column, -row])

    batch, scenes = episode("voltage:ieee33", None)
    outside = next(layer for layer in scenes[-1].layers if getattr(layer, "label", "").startswith("bus outside"))
    volts = batch.paid[1][:, 1]
    assert len(outside.places) == ((volts < 0.95) | (volts > 1.05)).sum()


@pytest.mark.parametrize(
    ("values", "scale", "expected"),
    [
        ([0.3, 7.2], Scale("x"), (0, 8)),
        ([0, 41], Scale("x", whole=True), (0, 50)),
        ([3, 3], Scale("x", whole=True), (3, 4)),
        ([1.02, 1.03], Scale("x", centre=1.0, limits=(0.95, 1.05)), (0.95, 1.05)),
        ([1, 2], Scale("x", low=0, high=2), (0, 2)),
        ([np.nan], Scale("x"), (0, 1)),
    ],
)
def test_scales_end_on_round_numbers_around_the_values(values, scale, expected):
    low, high, ticks = rounded_ends(np.array(values, float), scale)
    assert (round(low, 9), round(high, 9)) == expected
    assert len(ticks) >= 2 and low - 1e-9 <= ticks[0] and ticks[-1] <= high + 1e-9


def test_areas_are_in_proportion_over_the_whole_episode():
    def scene(step: int, amount: float) -> Scene:
        return Scene("t", step, [Marks([[step, 0]], "load", amounts=[amount], unit="MW", size=100)])

    painter = Painter([scene(0, 1.0), scene(1, 4.0)], 1)
    assert painter.greatest == {"MW": 4.0}
    assert [text.get_text() for text in painter.figure.legends[0].get_texts()] == ["load (largest: 4 MW)"]
