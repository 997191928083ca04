"""What the commonest Windows event ids mean: action, category, and the fields that name the resource.

Sources: Microsoft's "Advanced security audit policy settings" and the Sysmon schema 4.x manifest. A resource
is `(type, fields)`: the first field that says something names it, a type of "" takes the event's own
`ObjectType`; no rule, or no field filled, means the host.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Meaning(NamedTuple):
    """An id's action; `acts` tells that the target account, not the subject, is the one who acted."""

    action: str
    category: str
    resource: tuple[str, tuple[str, ...]] = ("host", ())
    acts: bool = False


_ACCOUNT = ("account", ("TargetUserName", "TargetSid", "TargetUserSid"))
_GROUP = ("group", ("TargetUserName", "TargetSid"))
_OBJECT = ("", ("ObjectName",))
_TASK = ("task", ("TaskName",))
_SERVICE = ("service", ("ServiceName", "Service"))
_NEW_PROCESS = ("process", ("NewProcessName", "Image", "ProcessName"))
_FILTER = ("firewall-filter", ("FilterName", "FilterKey"))
_RULE = ("firewall-rule", ("RuleName", "RuleId"))
_LISTENER = ("socket", ("SourceAddress",))
_PEER = ("address", ("DestAddress", "DestinationIp"))
_SHARE = ("share", ("ShareName",))
_FILE = ("file", ("TargetFilename",))
_REGISTRY = ("registry-key", ("TargetObject",))
_PIPE = ("pipe", ("PipeName",))
_TARGET_PROCESS = ("process", ("TargetImage",))
_HOST = ("host", ())


def _m(
    action: str, category: str, resource: tuple[str, tuple[str, ...]] = _HOST, acts: bool = False
) -> Meaning:  # noqa: FBT001, FBT002
    return Meaning(action, category, resource, acts)


SECURITY: Final = {
    1102: _m("windows:audit-log.clear", "audit"),
    4608: _m("windows:host.start", "host"),
    4616: _m("windows:clock.change", "host"),
    4624: _m("windows:logon", "authentication", acts=True),
    4625: _m("windows:logon", "authentication", acts=True),
    4627: _m("windows:logon.groups", "authentication", acts=True),
    4634: _m("windows:logoff", "authentication", acts=True),
    4647: _m("windows:logoff", "authentication", acts=True),
    4648: _m("windows:logon.explicit-credentials", "authentication", _ACCOUNT),
    4656: _m("windows:object.open", "access", _OBJECT),
    4657: _m("windows:registry.set", "change", ("registry-key", ("ObjectName",))),
    4658: _m("windows:object.close", "access", _OBJECT),
    4660: _m("windows:object.delete", "change", _OBJECT),
    4662: _m("windows:directory-object.access", "access", _OBJECT),
    4663: _m("windows:object.access", "access", _OBJECT),
    4670: _m("windows:object.permissions.change", "change", _OBJECT),
    4672: _m("windows:logon.privileges", "privilege"),
    4673: _m("windows:privilege.use", "privilege", _SERVICE),
    4674: _m("windows:privilege.use", "privilege", _OBJECT),
    4688: _m("windows:process.start", "process", _NEW_PROCESS),
    4689: _m("windows:process.stop", "process", _NEW_PROCESS),
    4690: _m("windows:handle.duplicate", "access"),
    4697: _m("windows:service.install", "change", _SERVICE),
    4698: _m("windows:task.create", "change", _TASK),
    4699: _m("windows:task.delete", "change", _TASK),
    4700: _m("windows:task.enable", "change", _TASK),
    4701: _m("windows:task.disable", "change", _TASK),
    4702: _m("windows:task.update", "change", _TASK),
    4703: _m("windows:privilege.adjust", "privilege", _ACCOUNT),
    4719: _m("windows:audit-policy.change", "audit"),
    4720: _m("windows:user.create", "identity", _ACCOUNT),
    4722: _m("windows:user.enable", "identity", _ACCOUNT),
    4723: _m("windows:user.password.change", "identity", _ACCOUNT),
    4724: _m("windows:user.password.reset", "identity", _ACCOUNT),
    4725: _m("windows:user.disable", "identity", _ACCOUNT),
    4726: _m("windows:user.delete", "identity", _ACCOUNT),
    4728: _m("windows:group.member.add", "identity", _GROUP),
    4729: _m("windows:group.member.remove", "identity", _GROUP),
    4732: _m("windows:group.member.add", "identity", _GROUP),
    4733: _m("windows:group.member.remove", "identity", _GROUP),
    4738: _m("windows:user.change", "identity", _ACCOUNT),
    4739: _m("windows:domain-policy.change", "identity", ("domain", ("DomainName",))),
    4740: _m("windows:user.lockout", "identity", _ACCOUNT),
    4756: _m("windows:group.member.add", "identity", _GROUP),
    4757: _m("windows:group.member.remove", "identity", _GROUP),
    4767: _m("windows:user.unlock", "identity", _ACCOUNT),
    4768: _m("windows:kerberos.ticket-granting", "authentication", _SERVICE, acts=True),
    4769: _m("windows:kerberos.service-ticket", "authentication", _SERVICE, acts=True),
    4771: _m("windows:kerberos.pre-authentication", "authentication", _SERVICE, acts=True),
    4776: _m("windows:ntlm.validate", "authentication", acts=True),
    4798: _m("windows:user.groups.list", "access", _ACCOUNT),
    4799: _m("windows:group.members.list", "access", _GROUP),
    4946: _m("windows:firewall.rule.add", "change", _RULE),
    4947: _m("windows:firewall.rule.change", "change", _RULE),
    4948: _m("windows:firewall.rule.delete", "change", _RULE),
    4954: _m("windows:firewall.policy.apply", "change"),
    4957: _m("windows:firewall.rule.skip", "change", _RULE),
    5140: _m("windows:share.access", "access", _SHARE),
    5145: _m("windows:share.check", "access", _SHARE),
    5154: _m("windows:network.listen", "network", _LISTENER),
    5156: _m("windows:network.connect", "network", _PEER),
    5157: _m("windows:network.block", "network", _PEER),
    5158: _m("windows:network.bind", "network", _LISTENER),
    5447: _m("windows:firewall.filter.change", "change", _FILTER),
    7045: _m("windows:service.install", "change", _SERVICE),
}

SYSMON: Final = {
    1: _m("sysmon:process.start", "process", ("process", ("Image",))),
    2: _m("sysmon:file.time.change", "change", _FILE),
    3: _m("sysmon:network.connect", "network", _PEER),
    4: _m("sysmon:state.change", "audit"),
    5: _m("sysmon:process.stop", "process", ("process", ("Image",))),
    6: _m("sysmon:driver.load", "process", ("file", ("ImageLoaded",))),
    7: _m("sysmon:image.load", "process", ("file", ("ImageLoaded",))),
    8: _m("sysmon:thread.create-remote", "process", _TARGET_PROCESS),
    9: _m("sysmon:disk.read-raw", "access", ("device", ("Device",))),
    10: _m("sysmon:process.access", "process", _TARGET_PROCESS),
    11: _m("sysmon:file.create", "change", _FILE),
    12: _m("sysmon:registry.change", "change", _REGISTRY),
    13: _m("sysmon:registry.set", "change", _REGISTRY),
    14: _m("sysmon:registry.rename", "change", _REGISTRY),
    15: _m("sysmon:file.stream.create", "change", _FILE),
    16: _m("sysmon:configuration.change", "audit"),
    17: _m("sysmon:pipe.create", "process", _PIPE),
    18: _m("sysmon:pipe.connect", "process", _PIPE),
    19: _m("sysmon:wmi.filter", "change"),
    20: _m("sysmon:wmi.consumer", "change"),
    21: _m("sysmon:wmi.binding", "change"),
    22: _m("sysmon:dns.query", "network", ("dns-name", ("QueryName",))),
    23: _m("sysmon:file.delete", "change", _FILE),
    24: _m("sysmon:clipboard.change", "access"),
    25: _m("sysmon:process.tamper", "process", ("process", ("Image",))),
    26: _m("sysmon:file.delete", "change", _FILE),
}

POWERSHELL: Final = {
    400: _m("powershell:engine.start", "process"),
    403: _m("powershell:engine.stop", "process"),
    600: _m("powershell:provider.start", "process"),
    800: _m("powershell:pipeline.execute", "process"),
    4103: _m("powershell:module.execute", "process"),
    4104: _m("powershell:script-block.execute", "process", ("script", ("Path",))),
    4105: _m("powershell:script-block.start", "process"),
    4106: _m("powershell:script-block.stop", "process"),
}

WMI: Final = {
    5857: _m("wmi:provider.start", "process"),
    5858: _m("wmi:operation", "access"),
    5860: _m("wmi:subscription.temporary", "change"),
    5861: _m("wmi:subscription.permanent", "change"),
}

PROVIDERS: Final = {
    "Microsoft-Windows-Security-Auditing": SECURITY,
    "Microsoft-Windows-Eventlog": SECURITY,
    "Service Control Manager": SECURITY,
    "Microsoft-Windows-Sysmon": SYSMON,
    "PowerShell": POWERSHELL,
    "Microsoft-Windows-PowerShell": POWERSHELL,
    "Microsoft-Windows-WMI-Activity": WMI,
}
