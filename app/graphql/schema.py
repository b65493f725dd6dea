"""The schema: every root field with its resolver. A resolver's docstring is its field's description."""

from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any

import strawberry
from strawberry.extensions import DisableIntrospection
from strawberry.schema.config import StrawberryConfig

from app.access.policy import allows, sees_service
from app.access.principal import Action
from app.database.key import parse_public_id
from app.errors import NotFound
from app.graphql import audit as _audit
from app.graphql import can_send as _can_send
from app.graphql import diagnosis as _diagnosis
from app.graphql import domains as _domains
from app.graphql import inbox as _inbox
from app.graphql import intervene as _intervene
from app.graphql import messages as _messages
from app.graphql import preview_email as _preview_email
from app.graphql import providers as _providers
from app.graphql import roles as _roles
from app.graphql import rotation as _rotation
from app.graphql import send_email as _send_email
from app.graphql import send_test_email as _send_test_email
from app.graphql import services as _services
from app.graphql import templates as _templates
from app.graphql.audit import AuditEntry
from app.graphql.compiled import CompilingSchema
from app.graphql.context import ContextPerOperation, Info
from app.graphql.cost import OperationLimits, limit_extensions
from app.graphql.domain_types import DkimKey, DomainCheck
from app.graphql.inbox import CapturedMail, CapturedSummary
from app.graphql.key_types import ApiKey
from app.graphql.service_type import Service
from app.graphql.template_types import Template, TemplateVersion
from app.graphql.types import Connection, Message, Node, Role
from app.graphql.viewer import Viewer
from app.services.manage import get_service


async def node(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of any node.")]
) -> Node | None:
    """Anything that has an id, by that id; null when there is none, or the API key may not see it."""
    principal = await info.context.principal()
    kind, key = parse_public_id(id) or (None, None)
    match kind:
        case "msg":
            return await _messages.message(info, id)
        case "cap":
            return await _inbox.captured_mail(info, id)
        case "tmpl" | "tver" if key and allows(principal, Action.MANAGE_TEMPLATES, None):
            return await _templates.template_node(kind, key)
        case "aud" if key and allows(principal, Action.MANAGE_ACCESS, None):
            return await _audit.entry_node(key)
        case "dkim" if key and _domains.sees_keys(principal):
            return await _domains.key_node(key)
        case "role" if allows(principal, Action.MANAGE_ACCESS, None):
            return await _roles.role(info, id)
        case "key" if allows(principal, Action.MANAGE_ACCESS, None):
            return await _roles.api_key(info, id)
        case "svc" if key and sees_service(principal, key):
            try:
                return Service.of(await get_service(key))
            except NotFound:
                return None
    return None


def _field(resolver: Callable[..., Any], name: str | None = None) -> Any:
    return strawberry.field(resolver=resolver, description=resolver.__doc__, name=name)


@strawberry.type(description="What can be read.")
class Query:
    viewer: Viewer = _field(_roles.viewer)
    node: Node | None = _field(node)
    can_send: _can_send.MailPermission = _field(_can_send.can_send)
    message: Message | None = _field(_messages.message)
    messages: Connection[Message] = _field(_messages.messages)
    inbox: Connection[CapturedSummary] = _field(_inbox.inbox)
    captured_mail: CapturedMail | None = _field(_inbox.captured_mail)
    service: Service | None = _field(_services.service)
    services: Connection[Service] = _field(_services.services)
    provider: _providers.Provider = _field(_providers.provider)
    providers: list[_providers.Provider] = _field(_providers.providers)
    template: Template | None = _field(_templates.template)
    templates: Connection[Template] = _field(_templates.templates)
    preview_email: _preview_email.PreviewEmailPayload = _field(_preview_email.preview_email)
    preview_template: _templates.PreviewTemplatePayload = _field(_templates.preview)
    role: Role | None = _field(_roles.role)
    roles: Connection[Role] = _field(_roles.roles)
    api_key: ApiKey | None = _field(_roles.api_key)
    api_keys: Connection[ApiKey] = _field(_roles.api_keys)
    audit_log: Connection[AuditEntry] = _field(_audit.audit_log)
    dkim_keys: Connection[DkimKey] = _field(_domains.dkim_keys)
    check_domain: DomainCheck = _field(_domains.check)


@strawberry.type(description="What can be done.")
class Mutation:
    send_email: _send_email.SendEmailPayload = _field(_send_email.send_email)
    send_test_email: _send_test_email.SendTestEmailPayload = _field(_send_test_email.send_test_email)
    cancel_email: _intervene.InterventionPayload = _field(_intervene.cancel)
    reschedule_email: _intervene.InterventionPayload = _field(_intervene.reschedule)
    retry_email: _intervene.InterventionPayload = _field(_intervene.retry)
    hold_email: _intervene.InterventionPayload = _field(_intervene.hold)
    release_email: _intervene.InterventionPayload = _field(_intervene.release)
    create_service: _services.ServicePayload = _field(_services.create)
    update_service: _services.ServicePayload = _field(_services.update)
    pause_service: _services.ServicePayload = _field(_services.pause)
    resume_service: _services.ServicePayload = _field(_services.resume)
    delete_service: _services.DeleteServicePayload = _field(_services.delete)
    diagnose_service: _diagnosis.DiagnoseServicePayload = _field(_diagnosis.diagnose)
    generate_dkim_key: _domains.DkimKeyPayload = _field(_domains.generate)
    import_dkim_key: _domains.DkimKeyPayload = _field(_domains.import_key)
    activate_dkim_key: _domains.DkimKeyPayload = _field(_domains.activate)
    retire_dkim_key: _domains.DkimKeyPayload = _field(_domains.retire)
    delete_dkim_key: _domains.DeleteDkimKeyPayload = _field(_domains.delete)
    create_template: _templates.TemplatePayload = _field(_templates.create)
    update_template: _templates.TemplatePayload = _field(_templates.update)
    restore_template_version: _templates.TemplatePayload = _field(_templates.restore)
    delete_template: _templates.DeleteTemplatePayload = _field(_templates.delete)
    create_role: _roles.RolePayload = _field(_roles.create)
    update_role: _roles.RolePayload = _field(_roles.update)
    delete_role: _roles.DeleteRolePayload = _field(_roles.delete)
    create_api_key: _roles.CreateApiKeyPayload = _field(_roles.create_key)
    update_api_key: _roles.ApiKeyPayload = _field(_roles.update_key)
    rotate_api_key: _rotation.RotateApiKeyPayload = _field(_rotation.rotate)
    revoke_api_key: _roles.ApiKeyPayload = _field(_roles.revoke_key)


@strawberry.type(description="What can be followed over a WebSocket, protocol graphql-transport-ws.")
class Subscription:
    service_diagnosis: AsyncGenerator[_diagnosis.DiagnosisStage, None] = strawberry.subscription(
        resolver=_diagnosis.service_diagnosis, description=_diagnosis.service_diagnosis.__doc__
    )


def make_schema(limits: OperationLimits | None = None, *, introspection: bool = True) -> CompilingSchema:
    """The schema, its operations held to `limits` (default: the defaults). Without `introspection` it answers nothing
    about itself, and its errors suggest no names."""
    hidden = [] if introspection else [DisableIntrospection]
    return CompilingSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[Service, Role, ApiKey, Message, CapturedMail, Template, TemplateVersion, AuditEntry, DkimKey],
        extensions=[ContextPerOperation, *hidden, *limit_extensions(limits or OperationLimits())],
        config=StrawberryConfig(disable_field_suggestions=not introspection),
    )
