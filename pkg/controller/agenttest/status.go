package agenttest

import ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"

func stackStatus(name, revision string, outcome Outcome) *ktrdrv1.StackStatus {
	st := &ktrdrv1.StackStatus{Name: name, Project: name, Converged: true, Reason: "Converged", Rollout: &ktrdrv1.RolloutStatus{Phase: "steady", Good: revision}}
	if outcome == RollsBack {
		st.Converged, st.Reason = false, "RolledBack"
		st.Rollout = &ktrdrv1.RolloutStatus{Phase: "rolled-back", Failed: &ktrdrv1.FailedUpdate{
			Revision: revision, Action: "rollback", Service: "web", Container: name + "-web", Message: "is unhealthy", Log: []string{"cannot bind"},
		}}
	}
	if reason, message := lack(outcome); reason != "" {
		st.Converged, st.Reason, st.Message = false, reason, message
		st.Pending = []string{"pull-image example:2: image is not on this node"}
		st.Rollout.Phase = "updating"
		st.Conditions = []*ktrdrv1.Condition{{Type: "Degraded", Status: true, Reason: reason, Message: message, Object: "example:2"}}
		st.Services = []*ktrdrv1.ServiceStatus{{Service: "web", Container: name + "-web", Image: "example:2", RunningImage: "example:1", State: "running", Reason: reason}}
	}
	return st
}

func lack(outcome Outcome) (reason, message string) {
	switch outcome {
	case LacksImage:
		return "ImageMissing", "pull image example:2: manifest unknown"
	case LacksRegistry:
		return "ImagePullFailed", "pull image example:2: connection refused"
	case Converges, RollsBack, Refuses, Hangs:
	}
	return "", ""
}
