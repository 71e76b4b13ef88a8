package ctl

import (
	"slices"

	"ktrdr.io/fleet/pkg/api"
)

// Explanation says what a reason means, and what a person can do about it.
type Explanation struct {
	Reason       api.Reason
	Meaning, Fix string
}

// fixOf is what to do about a reason; empty when it is unknown.
func fixOf(r api.Reason) string {
	for _, e := range Explanations() {
		if e.Reason == r {
			return e.Fix
		}
	}
	return ""
}

// Explanations are those of all reasons, in the order of docs/spec/conditions.md, which a
// test compares with them. A newer agent may have reasons that are not among them.
func Explanations() []Explanation {
	return slices.Concat(stackReasons(), factReasons(), fleetReasons(), sourceReasons())
}

// stackReasons are those of package api.
func stackReasons() []Explanation { //nolint:funlen // one row for each reason
	return []Explanation{
		{
			"Converged", "Everything was read back from the engine as wanted, and is healthy.",
			"",
		},
		{
			"Progressing", "The agent is working on it, or waits for a container to become healthy.",
			"Wait; `ktrdrctl plan` shows what is left and `ktrdrctl events -f` what happens.",
		},
		{
			"OnHold", "Somebody suspended changes and repairs of the stack.",
			"End it with `ktrdrctl resume STACK` when the reason is gone.",
		},
		{
			"NotObserved", "The agent has not seen the whole engine yet and changes nothing before it has.",
			"Wait; if it lasts, look at the engine: `systemctl status docker`.",
		},
		{
			"DesiredStateInvalid", "The newest revision has mistakes; the last good state stays in force.",
			"Run `ktrdrctl validate` on the repository, correct what it prints, and push.",
		},
		{
			"DesiredStateStale", "The source has not confirmed the desired state for more than ten minutes; the node keeps what it has.",
			"Mend what the condition of the source beside it says.",
		},
		{
			"SourceUnreachable", "The repository could not be read: refused, timed out, name not found, or a server error.",
			"Check the address, the network and the git server; the agent goes on trying.",
		},
		{
			"EngineUnreachable", "The engine does not answer; containers run on, repairs wait.",
			"Start it: `systemctl status docker`. Check engine.host of the agent's configuration and who may use its socket.",
		},
		{
			"EngineTimeout", "The engine accepted a request and did not answer in time.",
			"Look at the engine's log, the disk and the load: `journalctl -u docker -e`. A hung engine needs a restart.",
		},
		{
			"EngineError", "The engine refused or failed an operation; the message is its own.",
			"Act on the message; the agent tries again with a growing pause.",
		},
		{
			"ImageMissing", "The image is not on this machine and may not be pulled, or the registry has no such image.",
			"Check name and tag, push the image, or change pull_policy.",
		},
		{
			"ImagePullDenied", "The registry refused the credentials, or hides the image from them.",
			"Correct the registry's credentials in fleet.yaml or in the secret store.",
		},
		{
			"ImagePullFailed", "The registry did not deliver the image.",
			"Check the network and the registry; the agent goes on trying, and what runs stays as it is.",
		},
		{
			"MountMissing", "A required mount is not mounted, so nothing is started on the empty folder under it.",
			"Mount it on the host: `mount PATH`, and check /etc/fstab and the file server.",
		},
		{
			"MountTimeout", "The file system of a required mount does not answer.",
			"Bring the file server back; a mount that stays hung needs `umount -f -l PATH` and `mount PATH`.",
		},
		{
			"MountNotWritable", "A required mount is there, but can't be written to.",
			"Remount it writable and check the export and the permissions on the file server.",
		},
		{
			"MountWrongGroup", "A required mount belongs to another group than the stack wants.",
			"Correct the group of the exported folder, or gid in stack.yaml.",
		},
		{
			"DataWouldBeLost", "The container can't be replaced, because data would go with it.",
			"Put the data on a volume or bind it from the host, then let it be recreated; the message names the path. Protection can be relaxed in stack.yaml.",
		},
		{
			"ForeignObject", "A container, network or volume of that name exists and is not this agent's; it is never touched.",
			"Rename one of the two, remove the other, or list its folder in adoptFrom when it is the same project.",
		},
		{
			"NameConflict", "The container's name is taken by a container that is not this agent's.",
			"Remove or rename the other container, or change container_name.",
		},
		{
			"PortConflict", "The port on the host is in use.",
			"Find who has it with `ss -ltnp`, and free it or publish another port.",
		},
		{
			"PortLost", "The engine keeps a port of the host for no container: it was killed while it started one.",
			"Restart the engine: `systemctl restart docker`.",
		},
		{
			"NetworkDiverged", "The network exists with other settings, and containers that are not this agent's use it.",
			"Disconnect those containers, or correct the network's settings in the Compose file.",
		},
		{
			"VolumeDiverged", "The volume exists with other settings; volumes are never recreated, because that loses data.",
			"Correct the settings in the Compose file, or move the data and remove the volume yourself.",
		},
		{
			"ExternalMissing", "A network or volume that the Compose file calls external does not exist.",
			"Create it, or take `external: true` away so that the agent does.",
		},
		{
			"Unhealthy", "The container's healthcheck or the stack's probe fails.",
			"Read the container's log; the message has the last output of the check.",
		},
		{
			"HealthcheckInherited", "A healthcheck that comes with the image fails, or can't be run; it does not restart the container.",
			"Declare a healthcheck in the Compose file, or disable it there with `disable: true`.",
		},
		{
			"CrashLoopBackOff", "The container ends again and again; it is started after growing pauses.",
			"Read why it ends: `docker logs CONTAINER`. A new revision is tried at once.",
		},
		{
			"JobFailed", "A one-shot job ended with an error.",
			"Read why: `docker logs CONTAINER`. It runs again when its definition changes.",
		},
		{
			"DependencyNotReady", "It waits for another service of the stack.",
			"Look at the service that the message names.",
		},
		{
			"DependencyFailed", "A service that it needs failed.",
			"Mend the service that the message names; this one follows by itself.",
		},
		{
			"SecretMissing", "A secret has no value yet, so nothing that uses it is created.",
			"Create it in the secret store under the name in the message, and check the agent's access.",
		},
		{
			"SecretInvalid", "A secret's value breaks a rule of the stack's contract, so nothing that uses it is changed.",
			"Put a value that the rule in the message allows into the secret store.",
		},
		{
			"SecretsStale", "Secrets can't be refreshed; the last known values stay in use.",
			"Bring the secret store back; after a restart of the agent the values are needed again.",
		},
		{
			"SecretProviderUnreachable", "The secret store does not answer, or what answers is not it; the last known values stay in use.",
			"Check the address, the network and the server that the message names; the agent goes on trying.",
		},
		{
			"SecretProviderDenied", "The secret store refuses the agent's token, or the token's file can't be used.",
			"Put a valid token where the message says; it is read at every look, no restart is needed.",
		},
		{
			"SecretTokenExpiring", "The agent's token of the secret store expires within 14 days.",
			"Make a new token and replace the old one's file before that day.",
		},
		{
			"SecretsInEnvironment", "A container that was adopted, or made by an older agent, carries the right values in its environment, where `docker inspect` shows them.",
			"Nothing has to be done: its next change delivers them as files.",
		},
		{
			"SecretsUndeliverable", "Secrets can't be delivered as files: there is no memory to put them into, or no ktrdr-exec.",
			"Act on the message: run `ktrdr-agent prepare` on the host, or install ktrdr-exec beside ktrdr-agent.",
		},
		{
			"RotationInProgress", "A secret changed that a service keeps since its first start. Until the service has the new value, the old one stays in use; those who use it in other stacks follow after those in its own.",
			"Wait; if it lasts, the message says what the rotation waits for.",
		},
		{
			"RotationFailed", "The command that gives a service its new secret failed. The old value stays in use; nothing was replaced.",
			"Read the command's output in the message and mend it in stack.yaml, or put the old value back at the secret provider. It is tried again with a growing pause.",
		},
		{
			"RotationRefused", "A secret changed that a service applies at its first start only, and no command is declared that could change it. The old value stays in use.",
			"Declare services.SERVICE.rotation in stack.yaml, or put the old value back. Where the service has the new value already, by hand, declare exec: [\"true\"].",
		},
		{
			"ContainerUnresponsive", "The engine does not answer about this container; it is left alone.",
			"A process that hangs in a system call is the usual cause: look for a hung mount, then restart the engine.",
		},
		{
			"HookFailed", "A post_start command of the container failed.",
			"Run it by hand with `docker exec` and correct it.",
		},
		{
			"RollingBack", "An update failed; the stack goes back to its last known good definitions and images.",
			"Wait until it is back, then act on what failed: the message and the lines of the log below it.",
		},
		{
			"RolledBack", "An update failed and was undone: the last known good runs, and the revision is in quarantine.",
			"Correct what the message names and push: a change of the stack is tried at once. `ktrdrctl resume STACK` tries the same one again.",
		},
		{
			"UpdatePaused", "An update failed and stays where it is, as failure_action pause says; what runs is kept and repaired.",
			"Correct what the message names and push, or go on as it is with `ktrdrctl resume STACK`.",
		},
		{
			"StateCorrupt", "The agent's own memory was damaged; it started with an empty one and kept the old file.",
			"Check the disk. Holds and adoptions have to be made again where they are missed.",
		},
		{
			"DiskFull", "There is no space left.",
			"Free some: `df -h`, `docker system df`, `docker image prune`.",
		},
		{
			"UnsupportedByEngine", "This engine is too old for an attribute of the Compose file, or does not know it.",
			"Upgrade the engine, or take the attribute out.",
		},
		{
			"PolicyViolation", "The stack wants something that the policy of this node does not allow. Nothing of it is changed; what runs keeps running.",
			"Take it out of the desired state, or let an administrator of the node add the line in the message to the policy file.",
		},
		{
			"PolicyInvalid", "The policy file can't be used; the last good policy stays in force.",
			"Correct what the message says: `ktrdr-agent check` reads the file without a restart. Then `systemctl reload ktrdr-agent`.",
		},
		{
			"CertificateExpiring", "The node's certificate ends soon and could not be renewed.",
			"Mend the connection to the controller that the message names; the agent renews by itself.",
		},
		{
			"CertificateRejected", "The node has no usable certificate, or the controller does not accept it. Containers run on, changes don't come.",
			"Ask for a join token and run `ktrdr-agent join` with `--force` on the node; check that its clock is right.",
		},
	}
}

// sourceReasons are those of the errors of package source, which ktrdrctl does not link.
func sourceReasons() []Explanation { //nolint:funlen // one row for each reason
	return []Explanation{
		{
			"AuthenticationFailed", "The git server refused the token or the key.",
			"Renew the token file or the deploy key of the agent's configuration.",
		},
		{
			"RepositoryNotFound", "The git server has no such repository, or hides it from these credentials.",
			"Correct source.git.url, or give the credentials access.",
		},
		{
			"BranchNotFound", "The repository has no such branch, or no commit.",
			"Push the branch, or correct source.git.branch.",
		},
		{
			"PathNotFound", "The folder, or the sub-folder in the repository, does not exist.",
			"Correct source.dir.path or subFolder in the agent's configuration.",
		},
		{
			"RolloutPending", "The desired state has the node, and the rollout of it has not come to the node yet, or was stopped before.",
			"Act on the message: wait for the node's wave, uncordon the node, or mend what stopped the rollout and push.",
		},
		{
			"SignatureInvalid", "The newest commit is signed by none of the configured keys, or was changed.",
			"Find out who made the commit; sign it anew, or add the key to the agent's configuration.",
		},
		{
			"SignatureMissing", "Signatures are required, and the newest commit has none.",
			"Sign the commit: `git commit --amend -S`, and push.",
		},
		{
			"HostKeyUnknown", "known_hosts has no key for the ssh host.",
			"Add the host's key to knownHostsFile after comparing it with the server's.",
		},
		{
			"HostKeyMismatch", "The ssh host shows another key than known_hosts has: a new server, or somebody in between.",
			"Compare the key with the server's before you replace it in knownHostsFile.",
		},
		{
			"CacheCorrupt", "The local copy of the repository is unreadable, even after it was cloned again.",
			"Check the disk below the agent's stateDir.",
		},
		{
			"CertificateInvalid", "The certificate of the https server is not trusted, expired, or of another name.",
			"Renew the certificate, or name its authority in source.git.caFile.",
		},
		{
			"TooLarge", "The repository is larger than the agent takes.",
			"Remove large files; desired state is text.",
		},
		{
			"InvalidSource", "The repository holds what can't be used, or the source is configured wrongly.",
			"Act on the message: submodules, sockets and devices can't be used.",
		},
		{
			"SourceChanging", "The folder was written to during every attempt to copy it.",
			"Wait until whatever writes there is done, or write to another folder and rename it.",
		},
		{
			"StorageFailed", "This machine could not read or write its copy of the repository.",
			"Check space and permissions below the agent's stateDir: `df -h`.",
		},
		{
			"BranchMoved", "Somebody else's commit came first while a change was pushed to the repository.",
			"Nothing has to be done: the change is made again on top of it. If it lasts, ask for the change again.",
		},
		{
			"PushRefused", "The repository that is followed does not take the controller's commits.",
			"Act on the message: give the controller's key or token the right to push, or let the branch accept its pushes.",
		},
		{
			"Canceled", "The look at the source was ended before it was done.",
			"Nothing has to be done; the next look follows.",
		},
	}
}
