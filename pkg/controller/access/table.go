package access

import (
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Rule is what a call needs.
type Rule struct {
	Least Role
	// Quiet calls read only: they are in the audit trail when they are refused.
	Quiet bool
	// Unlimited calls of strangers cost nothing and are not counted.
	Unlimited bool
}

// Methods is the table: the rule of each gRPC method. What is not in it is refused to all.
// docs/spec/security.md shows it; a test compares the two.
func Methods() map[string]Rule {
	read, change := Rule{Least: Viewer, Quiet: true}, Rule{Least: Operator}
	return map[string]Rule{
		grpc_health_v1.Health_Check_FullMethodName:                        {Least: Anonymous, Quiet: true, Unlimited: true},
		grpc_health_v1.Health_List_FullMethodName:                         read,
		grpc_health_v1.Health_Watch_FullMethodName:                        read,
		reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName: read,
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo":  read,

		ktrdrv1.EnrollmentService_Join_FullMethodName:  {Least: Anonymous},
		ktrdrv1.EnrollmentService_Renew_FullMethodName: {Least: Node},
		// A node that loses its network again and again must not push out the others' entries.
		ktrdrv1.AgentService_Connect_FullMethodName: {Least: Node, Quiet: true},

		ktrdrv1.ControllerService_Forward_FullMethodName: {Least: Controller},
		ktrdrv1.ControllerService_Events_FullMethodName:  {Least: Controller, Quiet: true},

		ktrdrv1.FleetService_GetFleet_FullMethodName:     read,
		ktrdrv1.FleetService_WatchFleet_FullMethodName:   read,
		ktrdrv1.FleetService_Validate_FullMethodName:     read,
		ktrdrv1.FleetService_PlanFleet_FullMethodName:    read,
		ktrdrv1.FleetService_Diff_FullMethodName:         read,
		ktrdrv1.FleetService_WatchRollout_FullMethodName: read,
		ktrdrv1.FleetService_Events_FullMethodName:       read,
		ktrdrv1.FleetService_History_FullMethodName:      read,
		ktrdrv1.FleetService_References_FullMethodName:   read,
		// Logs may hold what no status holds: who read them is kept.
		ktrdrv1.FleetService_Logs_FullMethodName:     {Least: Viewer},
		ktrdrv1.FleetService_Scale_FullMethodName:    change,
		ktrdrv1.FleetService_Deploy_FullMethodName:   change,
		ktrdrv1.FleetService_Rollback_FullMethodName: change,
		ktrdrv1.FleetService_Hold_FullMethodName:     change,
		ktrdrv1.FleetService_Resume_FullMethodName:   change,
		ktrdrv1.FleetService_Sync_FullMethodName:     change,
		// An uploaded tree names references and paths that nobody has looked over, and nodes look
		// them up.
		ktrdrv1.FleetService_PlanTree_FullMethodName: change,
		// It may start a canary container on nodes.
		ktrdrv1.FleetService_Doctor_FullMethodName: change,

		ktrdrv1.NodeService_ListNodes_FullMethodName:       read,
		ktrdrv1.NodeService_Cordon_FullMethodName:          change,
		ktrdrv1.NodeService_Uncordon_FullMethodName:        change,
		ktrdrv1.NodeService_CreateJoinToken_FullMethodName: {Least: Admin},
		ktrdrv1.NodeService_RemoveNode_FullMethodName:      {Least: Admin},

		ktrdrv1.AccessService_WhoAmI_FullMethodName:         {Least: Anonymous, Quiet: true},
		ktrdrv1.AccessService_RenewAccess_FullMethodName:    {Least: Viewer},
		ktrdrv1.AccessService_ListOperators_FullMethodName:  {Least: Admin, Quiet: true},
		ktrdrv1.AccessService_CreateOperator_FullMethodName: {Least: Admin},
		ktrdrv1.AccessService_RemoveOperator_FullMethodName: {Least: Admin},
		ktrdrv1.AccessService_ListAudit_FullMethodName:      {Least: Admin, Quiet: true},
	}
}
