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


SECURITY: Final = {
    1102: Meaning("windows:audit-log.clear", "audit"),
    4608: Meaning("windows:host.start", "host"),
    4616: Meaning("windows:clock.change", "host"),
    4624: Meaning("windows:logon", "authentication", acts=True),
    4625: Meaning("windows:logon", "authentication", acts=True),
    4627: Meaning("windows:logon.groups", "authentication", acts=True),
    4634: Meaning("windows:logoff", "authentication", acts=True),
    4647: Meaning("windows:logoff", "authentication", acts=True),
    4648: Meaning("windows:logon.explicit-credentials", "authentication", _ACCOUNT),
    4656: Meaning("windows:object.open", "access", _OBJECT),
    4657: Meaning("windows:registry.set", "change", ("registry-key", ("ObjectName",))),
    4658: Meaning("windows:object.close", "access", _OBJECT),
    4660: Meaning("windows:object.delete", "change", _OBJECT),
    4662: Meaning("windows:directory-object.access", "access", _OBJECT),
    4663: Meaning("windows:object.access", "access", _OBJECT),
    4670: Meaning("windows:object.permissions.change", "change", _OBJECT),
    4672: Meaning("windows:logon.privileges", "privilege"),
    4673: Meaning("windows:privilege.use", "privilege", _SERVICE),
    4674: Meaning("windows:privilege.use", "privilege", _OBJECT),
    4688: Meaning("windows:process.start", "process", _NEW_PROCESS),
    4689: Meaning("windows:process.stop", "process", _NEW_PROCESS),
    4690: Meaning("windows:handle.duplicate", "access"),
    4697: Meaning("windows:service.install", "change", _SERVICE),
    4698: Meaning("windows:task.create", "change", _TASK),
    4699: Meaning("windows:task.delete", "change", _TASK),
    4700: Meaning("windows:task.enable", "change", _TASK),
    4701: Meaning("windows:task.disable", "change", _TASK),
    4702: Meaning("windows:task.update", "change", _TASK),
    4703: Meaning("windows:privilege.adjust", "privilege", _ACCOUNT),
    4719: Meaning("windows:audit-policy.change", "audit"),
    4720: Meaning("windows:user.create", "identity", _ACCOUNT),
    4722: Meaning("windows:user.enable", "identity", _ACCOUNT),
    4723: Meaning("windows:user.password.change", "identity", _ACCOUNT),
    4724: Meaning("windows:user.password.reset", "identity", _ACCOUNT),
    4725: Meaning("windows:user.disable", "identity", _ACCOUNT),
    4726: Meaning("windows:user.delete", "identity", _ACCOUNT),
    4728: Meaning("windows:group.member.add", "identity", _GROUP),
    4729: Meaning("windows:group.member.remove", "identity", _GROUP),
    4732: Meaning("windows:group.member.add", "identity", _GROUP),
    4733: Meaning("windows:group.member.remove", "identity", _GROUP),
    4738: Meaning("windows:user.change", "identity", _ACCOUNT),
    4739: Meaning("windows:domain-policy.change", "identity", ("domain", ("DomainName",))),
    4740: Meaning("windows:user.lockout", "identity", _ACCOUNT),
    4756: Meaning("windows:group.member.add", "identity", _GROUP),
    4757: Meaning("windows:group.member.remove", "identity", _GROUP),
    4767: Meaning("windows:user.unlock", "identity", _ACCOUNT),
    4768: Meaning("windows:kerberos.ticket-granting", "authentication", _SERVICE, acts=True),
    4769: Meaning("windows:kerberos.service-ticket", "authentication", _SERVICE, acts=True),
    4771: Meaning("windows:kerberos.pre-authentication", "authentication", _SERVICE, acts=True),
    4776: Meaning("windows:ntlm.validate", "authentication", acts=True),
    4798: Meaning("windows:user.groups.list", "access", _ACCOUNT),
    4799: Meaning("windows:group.members.list", "access", _GROUP),
    4946: Meaning("windows:firewall.rule.add", "change", _RULE),
    4947: Meaning("windows:firewall.rule.change", "change", _RULE),
    4948: Meaning("windows:firewall.rule.delete", "change", _RULE),
    4954: Meaning("windows:firewall.policy.apply", "change"),
    4957: Meaning("windows:firewall.rule.skip", "change", _RULE),
    5140: Meaning("windows:share.access", "access", _SHARE),
    5145: Meaning("windows:share.check", "access", _SHARE),
    5154: Meaning("windows:network.listen", "network", _LISTENER),
    5156: Meaning("windows:network.connect", "network", _PEER),
    5157: Meaning("windows:network.block", "network", _PEER),
    5158: Meaning("windows:network.bind", "network", _LISTENER),
    5447: Meaning("windows:firewall.filter.change", "change", _FILTER),
    7045: Meaning("windows:service.install", "change", _SERVICE),
}

SYSMON: Final = {
    1: Meaning("sysmon:process.start", "process", ("process", ("Image",))),
    2: Meaning("sysmon:file.time.change", "change", _FILE),
    3: Meaning("sysmon:network.connect", "network", _PEER),
    4: Meaning("sysmon:state.change", "audit"),
    5: Meaning("sysmon:process.stop", "process", ("process", ("Image",))),
    6: Meaning("sysmon:driver.load", "process", ("file", ("ImageLoaded",))),
    7: Meaning("sysmon:image.load", "process", ("file", ("ImageLoaded",))),
    8: Meaning("sysmon:thread.create-remote", "process", _TARGET_PROCESS),
    9: Meaning("sysmon:disk.read-raw", "access", ("device", ("Device",))),
    10: Meaning("sysmon:process.access", "process", _TARGET_PROCESS),
    11: Meaning("sysmon:file.create", "change", _FILE),
    12: Meaning("sysmon:registry.change", "change", _REGISTRY),
    13: Meaning("sysmon:registry.set", "change", _REGISTRY),
    14: Meaning("sysmon:registry.rename", "change", _REGISTRY),
    15: Meaning("sysmon:file.stream.create", "change", _FILE),
    16: Meaning("sysmon:configuration.change", "audit"),
    17: Meaning("sysmon:pipe.create", "process", _PIPE),
    18: Meaning("sysmon:pipe.connect", "process", _PIPE),
    19: Meaning("sysmon:wmi.filter", "change"),
    20: Meaning("sysmon:wmi.consumer", "change"),
    21: Meaning("sysmon:wmi.binding", "change"),
    22: Meaning("sysmon:dns.query", "network", ("dns-name", ("QueryName",))),
    23: Meaning("sysmon:file.delete", "change", _FILE),
    24: Meaning("sysmon:clipboard.change", "access"),
    25: Meaning("sysmon:process.tamper", "process", ("process", ("Image",))),
    26: Meaning("sysmon:file.delete", "change", _FILE),
}

POWERSHELL: Final = {
    400: Meaning("powershell:engine.start", "process"),
    403: Meaning("powershell:engine.stop", "process"),
    600: Meaning("powershell:provider.start", "process"),
    800: Meaning("powershell:pipeline.execute", "process"),
    4103: Meaning("powershell:module.execute", "process"),
    4104: Meaning("powershell:script-block.execute", "process", ("script", ("Path",))),
    4105: Meaning("powershell:script-block.start", "process"),
    4106: Meaning("powershell:script-block.stop", "process"),
}

WMI: Final = {
    5857: Meaning("wmi:provider.start", "process"),
    5858: Meaning("wmi:operation", "access"),
    5860: Meaning("wmi:subscription.temporary", "change"),
    5861: Meaning("wmi:subscription.permanent", "change"),
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
