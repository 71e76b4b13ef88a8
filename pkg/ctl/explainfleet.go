package ctl

// fleetReasons are those of nodes in a fleet, and of rollouts.
func fleetReasons() []Explanation {
	return []Explanation{
		{
			"Unreachable", "The node's agent is not connected to a controller. What runs there runs on and is repaired; news wait.",
			"Look at the machine, its network and its agent: `systemctl status ktrdr-agent`. It gets what it missed as soon as it connects.",
		},
		{
			"NotJoined", "The desired state has the node, and no agent has joined with its name.",
			"Make a token with `ktrdrctl node join-token NODE` and start the agent there with it; or take nodes/NODE.yaml out.",
		},
		{
			"NotDesired", "An agent has joined with a name that the desired state does not have. It gets nothing; what it got before runs on.",
			"Push nodes/NODE.yaml, or end its access: `ktrdrctl node remove NODE`.",
		},
		{
			"HeadUnreadable", "The controller can't read the files of the accepted revision. Status shows what it knows without them.",
			"Act on the message: look at the disk and the rights of the controller's state folder. Nodes keep what they have.",
		},
		{
			"AuthorityExpiring", "The fleet's authority ends within half a year, and every certificate with it.",
			"Replace it as docs/spec/security.md says under Authority.",
		},
		{
			"ClockSkew", "The controller's clock and that of the machine with ktrdrctl differ, or its answer is old.",
			"`date -u` on both; certificates and ages are wrong where a clock is.",
		},
		{
			"SliceRefused", "The agent does not accept what the revision has for its node.",
			"Act on the message: it has file and line, or the rule of the node's policy; push the correction.",
		},
		{
			"Cordoned", "New revisions are kept from the node.",
			"End it with `ktrdrctl node uncordon NODE` when the reason is gone.",
		},
		{
			"RolloutFailed", "A node could not get the revision; later waves keep what they have.",
			"Mend what the nodes say and push, try the same again with `ktrdrctl deploy STACK`, or go back with `ktrdrctl rollback`.",
		},
		{
			"RolloutTimeout", "A wave did not converge in its time.",
			"`ktrdrctl plan` shows what is left on its nodes; mend it and `ktrdrctl deploy STACK`, or `ktrdrctl rollback`.",
		},
		{
			"RolloutReplaced", "A newer revision took the place of the rollout before it had ended.",
			"Nothing has to be done: `ktrdrctl status` shows the newer one.",
		},
		{
			"NothingChanged", "The revision changes nothing on any node.",
			"Nothing has to be done.",
		},
	}
}
