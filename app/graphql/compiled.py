"""sendEmail without the generic executor: operations of a common shape, each compiled once.

Nothing is decided here. The document was parsed, validated and measured by the schema before, `accept` answers as ever,
and whatever is not quite usual, in the document or in the variables, goes the whole way.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLNonNull,
    GraphQLObjectType,
    NamedTypeNode,
    NameNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableDefinitionNode,
    VariableNode,
    get_named_type,
    located_error,
)
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.graphql import OperationType as Allowed

from app.graphql.coerce import Coerce, Unfit, coercer
from app.graphql.context import Context
from app.graphql.errors import MaskedSchema
from app.graphql.plain_mail import PlainMail, read_plain
from app.graphql.queued import QueuedMessage, QueuedRecipient
from app.graphql.select import Select, plain_fields, response_key, selector
from app.graphql.send_email import SendEmailInput, accept
from app.graphql.types import Message, Recipient
from app.queue.put import NewMessage

_KEPT = 128
"""As many documents as Strawberry keeps parsed."""


class CompilingSchema(MaskedSchema):
    """A schema that has `sendEmail`, and runs its common operations by themselves once it has seen them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._operations: OrderedDict[tuple[str, str | None], SendOperation | None] = OrderedDict()
        given = self._schema.type_map["SendEmailInput"]
        assert isinstance(given, GraphQLInputObjectType), "it has fields"
        self._coerce = coercer(self, GraphQLNonNull(given))

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[Allowed] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Whatever the operation answers, in the same words either way."""
        operation = self._find(query, operation_name)
        if (
            operation is not None
            and isinstance(context_value, Context)
            and not context_value.is_socket
            and (allowed_operation_types is None or Allowed.MUTATION in allowed_operation_types)
        ):
            result = await operation.run(self, context_value, variable_values or {})
            if result is not None:
                return result
        return await super().execute(
            query,
            variable_values,
            context_value,
            root_value,
            operation_name,
            allowed_operation_types,
            operation_extensions,
        )

    def found_valid(self, context: ExecutionContext) -> None:
        """Compile the operation that is about to be run, for the next time."""
        key = (context.query or "", context._provided_operation_name)
        if key in self._operations or context.graphql_document is None:
            return
        try:
            self._operations[key] = compile_operation(self, self._coerce, context.graphql_document, key[1])
        except Unfit:
            self._operations[key] = None
        if len(self._operations) > _KEPT:
            self._operations.popitem(last=False)

    def _find(self, query: str | None, operation_name: str | None) -> "SendOperation | None":
        key = (query or "", operation_name)
        operation = self._operations.get(key)
        if operation is not None:
            self._operations.move_to_end(key)
        return operation


@dataclass(frozen=True, slots=True)
class _Recipients:
    """Where an operation selects the recipients of the message, and what of them."""

    node: FieldNode
    message_key: str
    key: str
    select: Select


@dataclass(frozen=True, slots=True)
class SendOperation:
    """A mutation whose one root field is sendEmail, and whose one variable is its input."""

    document: DocumentNode
    field: FieldNode
    key: str
    variable: str
    coerce: Coerce
    select: Select
    recipients: _Recipients | None

    async def run(self, schema: MaskedSchema, context: Context, variables: dict[str, Any]) -> ExecutionResult | None:
        """The answer; None, and nothing is done, where the variables are for the full executor."""
        value = variables.get(self.variable)
        given: PlainMail | SendEmailInput | None = read_plain(value)
        if given is None:
            try:
                given = self.coerce(value)
            except Unfit:
                return None
        key = self.key
        try:
            payload, put = await accept(context, key, given, QueuedMessage)
            data, errors = {key: self.select(payload)}, []
            if self.recipients is not None and payload.message is not None:
                errors = await self._fill_in(data[key], self.recipients, payload.message, put, context)
        except Exception as error:
            data, errors = None, [located_error(error, [self.field], [key])]
        if not errors:
            return ExecutionResult(data=data, errors=None)
        execution = ExecutionContext(None, schema, (), context, variables, graphql_document=self.document)
        schema.process_errors(errors, execution)
        return ExecutionResult(data=data, errors=errors)

    async def _fill_in(
        self, shown: dict[str, Any], wanted: _Recipients, message: Message, put: NewMessage | None, context: Context
    ) -> list[GraphQLError]:
        """Show the recipients of the message, or why there is none to see."""
        listed: Iterable[object]
        if put is not None:
            listed = map(QueuedRecipient.of, put.recipients)
        else:
            try:
                listed = map(Recipient.of, await context.recipients.load(message.row.id))
            except Exception as error:
                shown[wanted.message_key] = None
                path = [self.key, wanted.message_key, wanted.key]
                return [located_error(error, [wanted.node], path)]
        shown[wanted.message_key][wanted.key] = wanted.select(listed)
        return []


_KNOWN_OF_RECIPIENTS = {"__typename", "kind", "email", "name", "state", "attemptCount"}


def compile_operation(
    schema: MaskedSchema, coerce: Coerce, document: DocumentNode, operation_name: str | None
) -> SendOperation:
    """The one operation of a valid document. Raises Unfit unless it is `mutation ($x: SendEmailInput!) {
    sendEmail(input: $x) { … } }`, and selects what `accept` finds out anyway."""
    field, variable = _send_field(document, operation_name)
    mutation = schema._schema.mutation_type
    assert mutation is not None, "the operation is one"
    kind = get_named_type(mutation.fields["sendEmail"].type)
    recipients = _recipients(schema, field)
    select = selector(schema, kind, field, recipients.node if recipients else None)
    return SendOperation(document, field, response_key(field), variable, coerce, select, recipients)


def _send_field(document: DocumentNode, operation_name: str | None) -> tuple[FieldNode, str]:
    """The root field, and the variable's name."""
    match document.definitions:
        case [
            OperationDefinitionNode(
                operation=OperationType.MUTATION,
                name=name,
                directives=None | () | [],
                variable_definitions=[
                    VariableDefinitionNode(
                        variable=VariableNode(name=NameNode(value=declared)),
                        type=NonNullTypeNode(type=NamedTypeNode(name=NameNode(value="SendEmailInput"))),
                        default_value=None,
                        directives=None | () | [],
                    )
                ],
                selection_set=SelectionSetNode(
                    selections=[
                        FieldNode(
                            name=NameNode(value="sendEmail"),
                            directives=None | () | [],
                            arguments=[ArgumentNode(value=VariableNode(name=NameNode(value=used)))],
                        ) as field
                    ]
                ),
            )
        ] if declared == used and operation_name in (None, name.value if name else None):
            return field, declared
    raise Unfit


def _recipients(schema: MaskedSchema, field: FieldNode) -> _Recipients | None:
    """Those of the message, where they are selected. Raises Unfit where they are twice, or with more than is known."""
    found = [
        (message_key, key, node)
        for message_key, message in plain_fields(field.selection_set).items()
        if message.name.value == "message"
        for key, node in plain_fields(message.selection_set).items()
        if node.name.value == "recipients"
    ]
    if not found:
        return None
    message_key, key, node = found[0]
    selected = {each.name.value for each in plain_fields(node.selection_set).values()}
    if len(found) > 1 or not selected <= _KNOWN_OF_RECIPIENTS:
        raise Unfit
    message = schema._schema.type_map["Message"]
    assert isinstance(message, GraphQLObjectType), "it has fields"
    return _Recipients(node, message_key, key, selector(schema, message.fields["recipients"].type, node))
