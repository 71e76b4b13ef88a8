package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// defaultMaxWritable is the writable layer above which a container is not thrown away.
const defaultMaxWritable = 256 << 20

// dataVariables name the environment variables by which well-known database images
// place their data directory.
func dataVariables() []string {
	return []string{"PGDATA", "MYSQL_DATADIR", "MARIADB_DATADIR", "MONGO_DATA_DIR", "REDIS_DATA_DIR"}
}

// protect says why a container must not be removed now. It may plan to measure the
// writable layer first; then the second result is the key to wait for.
func (b *builder) protect(c *api.Container, p api.Protection) (prob *problem, measure string) {
	for _, dir := range dataPaths(c, p) {
		if !mounted(c, dir) {
			return &problem{reason: api.ReasonDataUnprotected, message: fmt.Sprintf(
				"container %q keeps data in %s, which is under no mount and would be lost: copy it into a volume and mount that, or remove the container by hand", c.Name, dir)}, ""
		}
	}
	limit := p.MaxWritableLayer
	if limit < 0 {
		return nil, ""
	}
	if limit == 0 {
		limit = defaultMaxWritable
	}
	if c.Facts.WritableBytes < 0 {
		return nil, b.add(Op{
			Key: string(Measure) + "/" + shortID(c.ID), Kind: Measure, Object: c.Name, ID: c.ID,
			Service: c.Labels[api.LabelService], Cause: "its writable layer would be thrown away",
		})
	}
	if c.Facts.WritableBytes > limit {
		return &problem{reason: api.ReasonDataUnprotected, message: fmt.Sprintf(
			"container %q has %d MiB in its writable layer, which would be lost (limit %d MiB): move the data to a volume, raise protection.maxWritableLayer, or remove the container by hand",
			c.Name, c.Facts.WritableBytes>>20, limit>>20)}, ""
	}
	return nil, ""
}

// dataPaths are the declared ones and those that the container's environment names.
func dataPaths(c *api.Container, p api.Protection) []string {
	paths := append([]string(nil), p.DataPaths...)
	for _, name := range dataVariables() {
		for _, kv := range c.Spec.Env {
			if v, ok := strings.CutPrefix(kv, name+"="); ok && path.IsAbs(v) && !slices.Contains(paths, v) {
				paths = append(paths, v)
			}
		}
	}
	return paths
}

// mounted says whether dir is at or under a mount of the container that outlives it.
func mounted(c *api.Container, dir string) bool {
	for _, m := range c.Spec.Mounts {
		if (m.Type == api.MountBind || m.Type == api.MountVolume || m.Type == api.MountCluster) && under(dir, m.Target) {
			return true
		}
	}
	for target := range c.AnonymousVolumes {
		if under(dir, target) {
			return true
		}
	}
	return false
}

// under says whether p is dir or below it.
func under(p, dir string) bool {
	p, dir = path.Clean(p), path.Clean(dir)
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}
