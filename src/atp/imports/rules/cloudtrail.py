"""AWS CloudTrail records (event versions 1.0x), as files hold them or as Logstash passed them on.

Time is `eventTime`; where a pipeline has replaced it, `@timestamp`, which Logstash fills from it. The
record's `eventID` is the idempotency key, so overlapping deliveries are stored once.
"""

from __future__ import annotations

from typing import Any

from atp.imports.model import Unmappable
from atp.imports.rules.fields import (
    NAME_CHARS_MAX,
    address,
    bounded,
    idempotency_key,
    identifier,
    label,
    said,
    utc_time,
)
from atp.imports.rules.original import parse_object

FORMAT = "cloudtrail"

_ACTOR_TYPES = {
    "IAMUser": "user",
    "IdentityCenterUser": "user",
    "Root": "root",
    "AssumedRole": "role",
    "Role": "role",
    "FederatedUser": "federated-user",
    "SAMLUser": "federated-user",
    "WebIdentityUser": "federated-user",
    "Directory": "directory",
    "AWSAccount": "account",
    "AWSService": "service",
}
_READS = (
    "Get",
    "List",
    "Describe",
    "Head",
    "Lookup",
    "Search",
    "BatchGet",
    "Query",
    "Scan",
    "Check",
    "Validate",
)
_IDENTITY = {"iam", "organizations", "sso", "sso-directory", "identitystore", "cognito-idp"}
_DENIED = ("AccessDenied", "UnauthorizedOperation", "Client.UnauthorizedOperation", "Forbidden")

_TARGETS = (
    # Parameter of the request, type of the resource it names; the first that is present wins.
    ("functionName", "lambda.function"),
    ("tableName", "dynamodb.table"),
    ("secretId", "secretsmanager.secret"),
    ("keyId", "kms.key"),
    ("accessKeyId", "iam.accesskey"),
    ("policyArn", "iam.policy"),
    ("roleArn", "iam.role"),
    ("roleName", "iam.role"),
    ("groupName", "iam.group"),
    ("userName", "iam.user"),
    ("instanceId", "ec2.instance"),
    ("volumeId", "ec2.volume"),
    ("snapshotId", "ec2.snapshot"),
    ("groupId", "ec2.securitygroup"),
    ("vpcId", "ec2.vpc"),
    ("dBInstanceIdentifier", "rds.dbinstance"),
    ("clusterName", "cluster"),
    ("stackName", "cloudformation.stack"),
    ("logGroupName", "logs.loggroup"),
    ("topicArn", "sns.topic"),
    ("queueUrl", "sqs.queue"),
    ("trailName", "cloudtrail.trail"),
    ("repositoryName", "ecr.repository"),
    ("resourceArn", "resource"),
    ("name", "resource"),
)


def map_line(raw: bytes) -> dict[str, Any]:
    """Return the audit event of one CloudTrail record; Unmappable where it is none."""
    return map_record(*parse_object(raw))


def map_record(source: dict[str, Any], original: dict[str, Any] | str) -> dict[str, Any]:
    """Map a parsed record; `original` is what goes into the payload (see `rules/original.py`)."""
    name, service = said(source.get("eventName")), said(source.get("eventSource"))
    if name is None or service is None:
        raise Unmappable("NOT_CLOUDTRAIL", "The record has no eventName or no eventSource: not CloudTrail.")
    time_field = "eventTime" if "eventTime" in source else "@timestamp"
    occurred = utc_time(str(source.get(time_field)))
    if occurred is None:
        raise Unmappable("TIME_INVALID", f"{time_field} is missing or not an RFC 3339 time.")
    service = service.removesuffix(".amazonaws.com")
    event: dict[str, Any] = {
        "occurredAt": occurred,
        "actor": _actor(_object(source, "userIdentity")),
        "action": {"name": bounded(f"{service}:{name}", 256), "category": _category(source, service, name)},
        "resource": _resource(source, service),
        "outcome": _outcome(source),
        "context": _context(source),
        "payload": {"original": original, "import": _provenance(time_field, original)},
    }
    if request := said(source.get("requestID")):
        event["correlation"] = {"requestId": bounded(request, 128)}
    if event_id := said(source.get("eventID")):
        event["idempotencyKey"] = idempotency_key(f"{FORMAT}:{event_id}")
    return event


def _provenance(time_field: str, original: object) -> dict[str, str]:
    # Nothing of the run may stand here (file, line): the same record must always make the same event.
    how = {"format": FORMAT, "time": time_field}
    return how if type(original) is dict else how | {"original": "text"}


def _object(parent: dict[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if type(value) is dict else {}


def _actor(identity: dict[str, Any]) -> dict[str, Any]:
    """Name who acted: by ARN, else the principal, else the service that called on its own behalf."""
    given = said(identity.get("type"))
    issuer = _object(_object(identity, "sessionContext"), "sessionIssuer")
    fields = (identity.get(key) for key in ("arn", "principalId", "invokedBy", "userName", "accountId"))
    chosen = next(filter(None, map(said, fields)), None) or said(
        _object(identity, "onBehalfOf").get("userId")
    )
    service_only = given is None and "invokedBy" in identity
    actor: dict[str, Any] = {
        "type": "service"
        if service_only
        else _ACTOR_TYPES.get(given or "", label((given or "unknown").lower())),
        "id": identifier(chosen or "unknown"),
    }
    if name := said(identity.get("userName")) or said(issuer.get("userName")):
        actor["name"] = bounded(name, NAME_CHARS_MAX)
    if account := said(identity.get("accountId")):
        actor["account"] = account
    if (issued_by := said(issuer.get("arn"))) and issued_by != chosen:
        actor["role"] = issued_by
    if (via := said(identity.get("invokedBy"))) and via != chosen:
        actor["invokedBy"] = via
    return actor


def _category(source: dict[str, Any], service: str, name: str) -> str:
    if service in {"signin", "sts"} or source.get("eventType") == "AwsConsoleSignIn":
        return "authentication"
    reads = source.get("readOnly")
    if reads in {True, "true"} or (reads is None and name.startswith(_READS)):
        return "read"
    return "identity" if service in _IDENTITY else "change"


def _outcome(source: dict[str, Any]) -> str:
    error = said(source.get("errorCode"))
    if error is None:
        # A failed console sign-in carries no errorCode in older records, only this answer.
        failed = _object(source, "responseElements").get("ConsoleLogin") == "Failure"
        return "failure" if failed or said(source.get("errorMessage")) else "success"
    return "denied" if error.startswith(_DENIED) else "failure"


def _resource(source: dict[str, Any], service: str) -> dict[str, Any]:
    """Name what was acted on: listed resources, then the request's parameters, then the service itself."""
    parameters = _object(source, "requestParameters")
    if bucket := said(parameters.get("bucketName")):
        return _s3(bucket, said(parameters.get("key")))
    listed = source.get("resources")
    for resource in listed if type(listed) is list else ():
        if type(resource) is dict and (arn := said(resource.get("ARN") or resource.get("arn"))):
            kind = said(resource.get("type")) or "resource"
            return {
                "type": label(kind.removeprefix("AWS::").replace("::", ".").lower()),
                "id": identifier(arn),
            }
    for parameter, kind in _TARGETS:
        if target := said(parameters.get(parameter)):
            return {"type": kind, "id": identifier(target)}
    for items in (_object(parameters, "instancesSet").get("items"),):
        if (
            type(items) is list
            and len(items) == 1
            and type(items[0]) is dict
            and (only := said(items[0].get("instanceId")))
        ):
            return {"type": "ec2.instance", "id": identifier(only)}
    account = said(source.get("recipientAccountId")) or said(_object(source, "userIdentity").get("accountId"))
    where = [part for part in (account, said(source.get("awsRegion"))) if part]
    return {"type": "aws.service", "id": identifier(":".join([service, *where]))}


def _s3(bucket: str, key: str | None) -> dict[str, Any]:
    if key is None:
        return {"type": "s3.bucket", "id": identifier(f"arn:aws:s3:::{bucket}"), "name": bounded(bucket, 512)}
    return {
        "type": "s3.object",
        "id": identifier(f"arn:aws:s3:::{bucket}/{key}"),
        "path": bounded(f"{bucket}/{key}", 4096),
        "name": bounded(key, 512),
    }


def _context(source: dict[str, Any]) -> dict[str, Any]:
    context: dict[str, Any] = {}
    if origin := said(source.get("sourceIPAddress")):
        # AWS puts a service's DNS name here when the service itself made the call.
        context["ip" if address(origin) else "source"] = bounded(origin, 255)
    if agent := said(source.get("userAgent")):
        context["userAgent"] = bounded(agent, 4096)
    if region := said(source.get("awsRegion")):
        context["region"] = region
    session = _object(_object(source, "userIdentity"), "sessionContext")
    if mfa := said(_object(session, "attributes").get("mfaAuthenticated")):
        context["mfa"] = mfa == "true"
    return context
