"""A machine of a cluster judges its files itself; the driver judges those that did not arrive as they were."""

from pathlib import Path

import pytest
from builders import experiment, outcome, study
from support.parcels import spoiled

from sparkray.plan import make_plan
from sparkray.records import Verdict
from sparkray.store import Dataset, open_dataset, parquet
from sparkray.store import parcel as parcels
from sparkray.store.parcel import Outbox, Parcel, origin_of, receive, vouched

RUN = make_plan(study(experiment=experiment(runs=1)))[0]
ROW = f"runs/{RUN.run_id}-1.parquet"
HOW = ["cut", "flipped", "of another run", "null", "another word", "another type", "a foreign column"]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(tmp_path / "results", "question", "d" * 64)


@pytest.fixture
def sent(dataset: Dataset, tmp_path: Path) -> Parcel:
    box = Outbox(origin_of(dataset).opened(tmp_path / "cache", {}))
    verdicts = [Verdict("tokens", "pass", "all are there")]
    made = outcome(RUN.run_id, model=RUN.model, environment=RUN.environment, block=RUN.block, host="a")
    box.dataset.write(type(made)(row=made.row, checks=verdicts))
    box.dataset.put_input(box.dataset.path / "inputs" / "prompts", b"text")
    return box.parcel(every=False)


def test_what_its_sender_has_judged_is_stored_without_being_judged_again(
    sent: Parcel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = vouched(sent)
    assert set(sound) == {name for name in sent if not name.startswith("inputs/")}
    assert sound[ROW].rows[0]["status"] == "ok"

    def not_again(*_: object) -> None:
        raise AssertionError("judged again")

    monkeypatch.setattr(parcels, "judged", not_again)
    assert receive(dataset, sent, "a", late=False, notify=print, sound=sound) == []
    assert dataset.ok_run_ids() == {RUN.run_id}
    assert (dataset.path / ROW).read_bytes() == sent[ROW]


@pytest.mark.parametrize("how", HOW)
def test_what_was_damaged_on_the_way_is_judged_by_the_driver(sent: Parcel, dataset: Dataset, how: str) -> None:
    sound = vouched(sent)
    damaged = {name: spoiled(name, content or b"", how) if name == ROW else content for name, content in sent.items()}
    said: list[str] = []
    refused = receive(dataset, damaged, "a", late=False, notify=said.append, sound=sound)
    assert ROW in refused
    assert "set aside" in said[0]
    assert dataset.ok_run_ids() == set()


@pytest.mark.parametrize("how", HOW)
def test_nobody_vouches_for_a_file_that_is_not_sound(sent: Parcel, how: str) -> None:
    damaged = {name: spoiled(name, content or b"", how) if name == ROW else content for name, content in sent.items()}
    assert ROW not in vouched(damaged)


def test_a_digest_is_of_the_columns_too(sent: Parcel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sparkray with other columns calls sound, this one judges itself."""
    other = vouched(sent)
    monkeypatch.setattr(parquet, "_fingerprint", lambda _: b"another version.")
    asked: list[str] = []
    judge = parcels.judged
    monkeypatch.setattr(
        parcels, "judged", lambda content, table, run: (asked.append(table), judge(content, table, run))[1]
    )
    assert receive(dataset, sent, "a", late=False, notify=print, sound=other) == []
    assert sorted(asked) == ["checks", "runs"]
    assert dataset.ok_run_ids() == {RUN.run_id}
