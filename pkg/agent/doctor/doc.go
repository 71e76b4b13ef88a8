// Package doctor checks whether a node can run what a desired state asks of it, before and
// without a deployment: engine, storage, cgroups, a canary container, disk, clock, names,
// ports, mounts, images in their registries, secrets and certificates.
//
// Each check is one or more rows with what was found and what to do about it. Checks run
// beside each other, each with a time limit, and none changes anything, except for the
// canary, which is asked for and removes what it made. Rows never hold a secret. The agent
// calls it for `ktrdrctl doctor`, and `ktrdr-agent doctor` before an agent runs.
package doctor
