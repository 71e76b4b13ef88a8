package lab

import (
	"path/filepath"
	"strconv"
)

// users is the part of the configuration that depends on who the machine's root is. A
// network belongs to the users of who made it, so a machine with users of its own gets the
// cable's end instead of the network that holds it. Only folders can be mapped, no overlays.
func (m *Machine) users() []string {
	docker := "lxc.mount.entry = " + m.in("disk/docker") + " var/lib/docker none bind,create=dir"
	if !m.opts.Unprivileged {
		return []string{
			"lxc.rootfs.path = overlayfs:" + m.opts.Root + ":" + m.in("disk/root"),
			docker + " 0 0", // an overlay can't lie on another one
			"lxc.namespace.share.net = " + strconv.Itoa(m.holder.Process.Pid),
		}
	}
	return []string{
		"lxc.rootfs.path = dir:" + m.in("disk/root"), "lxc.rootfs.options = idmap=container", docker + ",idmap=container 0 0",
		"lxc.idmap = u 0 100000 65536", "lxc.idmap = g 0 100000 65536",
		"lxc.net.0.type = phys", "lxc.net.0.link = eth0", "lxc.net.0.name = eth0", "lxc.net.0.flags = up",
		"lxc.net.0.ipv4.address = " + m.Address + "/24",
	}
}

// Disk is where a file of the machine's disk is written from here: nobody here is root of a
// machine with users of its own.
func (m *Machine) Disk(name string) string {
	if m.opts.Unprivileged {
		return filepath.Join(m.in("disk/root"), name)
	}
	return m.Path(name)
}
