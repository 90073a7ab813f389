"""Open an exchange of an action on all its ranks: who owns which partition, where a range is cut, what the driver inserts itself.

Invariant: `open_exchange` numbers a step and posts its opening in the action's mail, which sees to it that every worker sees all steps in one order.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import polars as pl

from hpcflow.errors import HpcflowError
from hpcflow.events import records
from hpcflow.ir.properties import Pattern
from hpcflow.plan.physical import BlocksLeaf, DriverLeaf, ExchangeLeaf, ExchangePlan, Stage, StoreOutput
from hpcflow.runtime import messages as m
from hpcflow.runtime.action_state import ActionState, ExchangeRun, StageRun
from hpcflow.runtime.placement import STRATEGIES, PartitionView
from hpcflow.shuffle.exchange import ExchangeSpec

CARRIED_BYTES = 64 << 10
"""Tables of the driver up to this size travel with the tasks that read them; larger ones are scattered through an exchange."""


def open_exchange(state: ActionState, plan: ExchangePlan, producer: Stage | None, partitions: int | None = None) -> ExchangeRun:
    """Number the step, tell every rank who owns what, and enter it here where the driver inserts or owns.

    producer: the stage that inserts, None for a source that the driver holds; partitions: their number when the plan does not know it
    """
    ranks = state.master.worker_ranks
    properties = plan.properties
    count = len(ranks) if properties.pattern is Pattern.SHARE else partitions or plan.partitions
    owners, splitters = _owners(state, plan, producer, count)
    spec = ExchangeSpec(
        step=state.mail.number_step(),
        owners=owners,
        sources=(state.master.engine.rank,) if plan.producer < 0 else ranks,
        schema=plan.schema,
        ordered=properties.ordered,
        broadcast=properties.pattern is Pattern.BROADCAST,
        compression=properties.compression,
        transport=properties.transport,
        window_bytes=state.master.config.window_bytes,
        chunk_bytes=state.master.config.chunk_bytes,
    )
    local = state.master.exchanges.open(spec) if plan.to_driver or plan.producer < 0 else None
    state.mail.to_all(m.OpenExchange(state.id, plan.edge, spec, splitters))
    run = state.exchanges[plan.edge] = ExchangeRun(plan, spec, local, frozenset(owners))
    if plan.to_driver and local is not None:
        done = m.ExchangeDone(state.id, plan.edge, state.master.engine.rank, {})
        local.when_complete(lambda: state.inbox.put(done))
    state.emit(
        records.ExchangeStarted(
            action=state.id,
            step=spec.step,
            edge=plan.edge,
            partitions=len(set(owners)) if spec.broadcast else count,
            pattern=properties.pattern.value,
        )
    )
    return run


def _owners(state: ActionState, plan: ExchangePlan, producer: Stage | None, count: int) -> tuple[tuple[int, ...], Any]:
    """(rank of each partition, where a range or the rows are cut), from the statistics of stored rows where there are any."""
    ranks = state.master.worker_ranks
    allowed = _readers_ranks(state, plan.edge)
    properties = plan.properties
    splitters: Any = None
    if plan.to_driver:
        owners: tuple[int, ...] = (state.master.engine.rank,)
    elif properties.pattern is Pattern.BROADCAST:
        owners = ranks
    elif properties.pattern is Pattern.SHARE:
        owners, splitters = ranks, state.layouts[plan.edge].bounds
    elif properties.pattern is Pattern.GATHER:
        owners = (allowed[len(state.exchanges) % len(allowed)],)
    else:
        owners = _placed(state, plan, [PartitionView(p) for p in range(count)], allowed)
    if producer is not None and isinstance(producer.root, BlocksLeaf) and producer.root.stage is not None:
        stored = state.stages[producer.root.stage]
        statistic = next((kind for o in stored.stage.outputs if isinstance(o, StoreOutput) for e, kind in o.statistics if e == plan.edge), None)
        results = sorted(stored.results.values(), key=lambda r: r.index)
        if statistic == "sample":
            splitters = _splitters(state, plan, results, count)
        elif statistic == "histogram" and not _shares_owners(state, plan.edge):
            owners = _placed(state, plan, _sized(state, plan.edge, stored, results, count), allowed)
    return owners, splitters


def _sized(state: ActionState, edge: str, stored: StageRun, results: list[m.TaskResult], count: int) -> list[PartitionView]:
    """The partitions with their bytes, and how many of them each worker holds."""
    held: dict[int, Any] = {}
    numbers = {rank: number for number, rank in enumerate(state.master.worker_ranks)}
    for result in results:
        number = numbers[stored.assigned[result.index]]
        held[number] = held.get(number, 0) + result.histograms[edge]
    sizes = np.sum(list(held.values()) or [np.zeros(count)], axis=0)
    return [PartitionView(p, int(sizes[p]), {number: int(sizes_there[p]) for number, sizes_there in held.items()}) for p in range(count)]


def _placed(state: ActionState, plan: ExchangePlan, partitions: list[PartitionView], allowed: tuple[int, ...]) -> tuple[int, ...]:
    """Rank of each partition, by the strategy of the stage that reads them."""
    reader = _reader(state, plan.edge)
    views = state.views(allowed)
    numbers = {view.number for view in views}
    chosen = list((STRATEGIES["dynamic"] if _reads_cache(reader) else state.strategy(reader)).partitions(partitions, views))
    if len(chosen) != len(partitions) or any(number not in numbers for number in chosen):
        answer = f"placement answered {chosen} for {len(partitions)} partitions of {plan.edge}"
        raise HpcflowError(f"{answer}; give one of the workers {sorted(numbers)} for each")
    return tuple(state.master.worker_ranks[number] for number in chosen)


def _reader(state: ActionState, edge: str) -> StageRun | None:
    return next((run for run in state.stages.values() if any(getattr(leaf, "edge", None) == edge for leaf in run.stage.leaves())), None)


def _reads_cache(reader: StageRun | None) -> bool:
    """Cached partitions are where a shuffle over all workers puts them by default, and what is read with them has to go there too."""
    return reader is None or any(isinstance(leaf, BlocksLeaf) and leaf.cache is not None for leaf in reader.stage.leaves())


def _readers_ranks(state: ActionState, edge: str) -> tuple[int, ...]:
    """Workers that may run the tasks that read this exchange: its partitions go nowhere else."""
    reader = _reader(state, edge)
    return state.master.worker_ranks if reader is None or _reads_cache(reader) else state.allowed_ranks(reader)


def _shares_owners(state: ActionState, edge: str) -> bool:
    """Whether a task reads this exchange together with another or with cached partitions, so that both must put partition i in the same place."""
    return any(
        ExchangeLeaf(edge) in run.stage.leaves() and sum(isinstance(leaf, ExchangeLeaf | BlocksLeaf) for leaf in run.stage.leaves()) > 1
        for run in state.stages.values()
    )


def _splitters(state: ActionState, plan: ExchangePlan, results: list[m.TaskResult], partitions: int) -> Any:
    from hpcflow.shuffle.partitioners import choose_splitters

    samples = [sample for r in results if (sample := r.samples[plan.edge])[0].height]
    if not samples:
        return None
    order = plan.properties.order
    return choose_splitters(samples, partitions, [k.descending for k in order], [k.nulls_last for k in order])


def scatter_source(state: ActionState, plan: ExchangePlan) -> None:
    """Send the splits of a source that the driver holds to the workers, in bounded chunks, on a thread of its own; small ones go with the tasks."""
    leaf = next(leaf for stage in state.plan.stages for leaf in stage.leaves() if isinstance(leaf, DriverLeaf) and leaf.edge == plan.edge)
    splits = state.splits_of(leaf.vertex)
    if sum(split.bytes or 0 for split in splits) <= CARRIED_BYTES and pl.Object not in plan.schema.dtypes():
        state.carried.add(plan.edge)
        return
    exchange = open_exchange(state, plan, None, partitions=len(splits)).local
    state.mail.send()
    assert exchange is not None

    def insert() -> None:
        try:
            for index, split in enumerate(splits):
                table: pl.DataFrame = split.payload
                exchange.insert(table, np.full(table.height, index, dtype=np.uint32), task=index)
            exchange.finish()
        except BaseException as error:
            state.inbox.put(error)

    threading.Thread(target=insert, name="hpcflow-scatter", daemon=True).start()


def close_local(state: ActionState, edge: str) -> None:
    """Leave the exchange on the driver's rank, if it is in it."""
    run = state.exchanges.get(edge)
    if run is not None and run.local is not None:
        run.local.close()
        run.local = None
