"""The models as migrations describe them. Tortoise makes classes of all of them, for queries, with every operation."""

from collections.abc import Iterable

from tortoise.migrations.operations import DIRECT_RELATION_FIELDS
from tortoise.migrations.schema_generator.state import ModelState, State
from tortoise.migrations.schema_generator.state_apps import StateApps
from tortoise.models import Model

ModelStates = dict[tuple[str, str], ModelState]


class DescribedState(State):
    """A class is made of a model, and of those it refers to, when an operation asks for it, and not before."""

    @classmethod
    def of(cls, models: ModelStates) -> "DescribedState":
        """A state with these models."""
        return cls(models, _Classes(models))

    def reload_model(self, app_label: str, model_name: str) -> None:
        """Forget the classes: what they were made from has changed."""
        self.apps.clear()

    def reload_models(self, model_tuples: Iterable[tuple[str, str]]) -> None:
        """Forget the classes: what they were made from has changed."""
        self.apps.clear()

    def clone(self) -> State:
        """The models as they are described now, whatever becomes of this state."""
        return self.of({key: model.clone() for key, model in self.models.items()})


class _Classes(StateApps):
    def __init__(self, models: ModelStates) -> None:
        super().__init__()
        self._models = models

    def get_model(self, app_label: str, model_name: str | None = None) -> type[Model]:
        key = self.split_reference(app_label) if model_name is None else (app_label, model_name)
        self._make(*key)
        self._init_relations()
        return super().get_model(*key)

    def _make(self, app_label: str, model_name: str) -> None:
        """Of the models it refers to as well, whose keys say what columns it has."""
        if model_name in self.apps.get(app_label, {}):
            return
        described = self._models[app_label, model_name]
        self.register_model(app_label, described.render(self))
        for field in described.fields.values():
            if isinstance(field, DIRECT_RELATION_FIELDS):
                self._make(*self.split_reference(field.model_name))
