"""Where Mayfly's operations differ from Amazon's models on purpose: a pattern of referee.py's lines, and the reason."""

NEVER_SET = "replies do not hold what is never set here, because the feature behind it is not built"
REFUSED = "a parameter of a feature that is not built; any value of it is refused by name"

DIFFERENCES = {
    "iam *PasswordLastUsed: missing": NEVER_SET,
    "iam *Roles[].SourceRoleTemplate: missing": NEVER_SET,
    "iam *output.Role.SourceRoleTemplate: missing": NEVER_SET,
    "iam GetServiceLinkedRoleDeletionStatus output.Reason: missing": NEVER_SET,
    "iam Simulate* output.EvaluationResults[].OrganizationsDecisionDetail: missing": NEVER_SET,
    "iam Simulate* output.EvaluationResults[].ResourceSpecificResults: missing": NEVER_SET,
    "iam SimulateCustomPolicy input.OrderedOrganizationPolicyInputList: any, *": REFUSED,
    "iam SimulatePrincipalPolicy input.PolicyExclusionList: any, *": REFUSED,
    "scheduler *Target.EcsParameters: any, *": REFUSED,
    "scheduler *Target.EventBridgePutEventsV2Parameters: any, *": REFUSED,
    "scheduler *Target.EventBridgePutRawEventsParameters: any, *": REFUSED,
    "scheduler *Target.SageMakerPipelineParameters: any, *": REFUSED,
    "sts AssumeRole input.ProvidedContexts: any, *": REFUSED,
    "logs DescribeLogGroups output.logGroups[].bearerTokenAuthenticationEnabled: missing": NEVER_SET,
    "logs DescribeLogGroups output.logGroups[].dataProtectionStatus: missing": NEVER_SET,
    "logs DescribeLogGroups output.logGroups[].inheritedProperties: missing": NEVER_SET,
    "logs DescribeLogGroups output.logGroups[].kmsKeyId: missing": NEVER_SET,
    "logs DescribeLogGroups output.logGroups[].retentionPolicyName: missing": NEVER_SET,
    "logs ListLogGroups input.dataSources: any, *": REFUSED,
    "logs ListLogGroups input.fieldIndexNames: any, *": REFUSED,
    "logs ListLogGroups input.logGroupTags: any, *": REFUSED,
    "s3 *: refused": REFUSED,
    "events *onnectivityParameters: any, *": REFUSED,
    "events *onnectivityParameters: missing": NEVER_SET,
    "events *ManagedBy: missing": NEVER_SET,
    "events PutTargets input.Targets[].*Parameters: any, *": REFUSED,
    "events ListTargetsByRule output.Targets[].*Parameters: any, *": NEVER_SET,
}
