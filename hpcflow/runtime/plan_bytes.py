"""The plan as bytes for the workers, or the operator that cannot travel, by name.

blob = dump_plan(plan); cloudpickle.loads(blob)
"""

from __future__ import annotations

import pickle

import cloudpickle

from hpcflow.errors import HpcflowError, UnpicklableError
from hpcflow.ir.depth import room_for
from hpcflow.plan.physical import PhysicalPlan


def dump_plan(plan: PhysicalPlan) -> bytes:
    """The plan as bytes. Raises UnpicklableError naming the operator whose function or object cannot travel."""
    try:
        with room_for(len(plan.dag.vertices)):
            return _dumps(plan)
    except Exception as error:
        if type(error) is HpcflowError:  # too deep
            raise
        for vertex in plan.dag.vertices.values():
            try:
                cloudpickle.dumps((vertex.operator, vertex.properties), protocol=5)
            except Exception as inner:
                hint = ". Functions must not hold open files, locks, connections or generators: open them inside the function"
                hint = "" if isinstance(inner, UnpicklableError) else hint  # which says itself what to do
                raise UnpicklableError(
                    f"{vertex.operator.name}({vertex.operator.describe()}) cannot be sent to the workers: {inner}{hint}"
                ) from inner
        for edge in plan.dag.edges:
            try:
                cloudpickle.dumps(edge.properties, protocol=5)
            except Exception as inner:
                raise UnpicklableError(f"the partitioner into {plan.dag.vertices[edge.target]} cannot be sent to the workers: {inner}") from inner
        raise UnpicklableError(f"the plan cannot be sent to the workers: {error}") from error


def _dumps(plan: PhysicalPlan) -> bytes:
    try:
        blob: bytes = cloudpickle.dumps(plan, protocol=5)
        return blob
    except pickle.PicklingError as error:
        if isinstance(error.__cause__, RecursionError):  # what cloudpickle makes of it
            raise error.__cause__ from None
        raise
