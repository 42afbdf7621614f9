"""Say what is taken of an answer about a service or its scaling, as JMESPath. Pure."""

from __future__ import annotations

from collections.abc import Mapping

# What CreateService takes back from what DescribeServices shows.
SETTINGS = [
    "serviceName",
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "schedulingStrategy",
    "availabilityZoneRebalancing",
    "deploymentConfiguration",
    "deploymentController",
    "networkConfiguration",
    "loadBalancers",
    "serviceRegistries",
    "placementConstraints",
    "placementStrategy",
    "healthCheckGracePeriodSeconds",
    "enableECSManagedTags",
    "propagateTags",
    "enableExecuteCommand",
    "tags",
]
# What CreateService takes, and is shown of the deployment alone.
DEPLOYED = [
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
]
# What CreateService takes, and is shown of the service's revision alone.
REVISED = ["gatewayConnectors", "monitoring"]
# What RegisterScalableTarget takes.
SCALING = [
    "ServiceNamespace",
    "ResourceId",
    "ScalableDimension",
    "MinCapacity",
    "MaxCapacity",
]


def fields(shown: Mapping[str, str]) -> str:
    """Return the query for a record: each of its fields by where it is shown."""
    each = [f"{name}: {where}" for name, where in shown.items()]
    return f"{{{', '.join(each)}}}"


SERVICES = 10  # DescribeServices takes so many
ACTIVE = "services[?status=='ACTIVE']"
IS_PRIMARY = "[?status=='PRIMARY']"
PRIMARY = f"deployments{IS_PRIMARY}"

_settings = {name: name for name in SETTINGS}
for _name in DEPLOYED:
    _settings[_name] = f"{PRIMARY}.{_name} | [0]"

_STATE = fields(
    {
        "arn": "serviceArn",
        "desiredCount": "desiredCount",
        "runningCount": "runningCount",
        "taskDefinition": (
            f"[deployments, taskSets][] | {IS_PRIMARY}.taskDefinition | [0]"
        ),
        "rollout": f"{PRIMARY}.rolloutState | [0]",
        "managedBy": "resourceManagementType",
        "role": "roleArn",
        "settings": fields(_settings),
    }
)
STATE = f"{ACTIVE} | [0].{_STATE}"
STATES = f"{ACTIVE}.{{name: serviceName, state: {_STATE}}}"

_ROLLOUT = fields(
    {
        "desired": "desiredCount",
        "running": "runningCount",
        "deployments": "length(deployments)",
        "rollout": f"{PRIMARY}.rolloutState | [0]",
        "reason": f"{PRIMARY}.rolloutStateReason | [0]",
    }
)
ROLLOUT = f"services[0].{_ROLLOUT}"
STABLE = "deployments == `1` && running == desired && rollout == 'COMPLETED'"

_SCALABLE = fields({name: name for name in SCALING})
SCALABLE = f"ScalableTargets[0].{_SCALABLE}"
SCALABLES = f"ScalableTargets[].{_SCALABLE}"
