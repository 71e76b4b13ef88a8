package image

import "time"

// Repository is where every demonstration image has a tag of its own, besides the names that the user's files know.
const Repository = "ktrdr-demo"

// BackendRepository is the user's name of the backend and worker image.
const BackendRepository = "ghcr.io/kpiteira/ktrdr-backend"

// Catalog returns all demonstration images. extra are more tags of BackendRepository for version 1.
//
// Version 1 and 2 differ in KTRDRSIM_VERSION and so in their ids; `broken` starts and never becomes healthy. The tags of
// seven hexadecimal digits fit a stack that allows nothing else.
func Catalog(extra ...string) []Spec {
	first := release("1", "latest", "sha-demo1", "sha-de00001")
	for _, tag := range extra {
		first.Tags = append(first.Tags, BackendRepository+":"+tag)
	}
	broken := release("broken", "sha-broken", "sha-bad0001")
	broken.Config.Env = append(broken.Config.Env, "KTRDRSIM_UNHEALTHY=1")
	return []Spec{first, release("2", "sha-demo2", "sha-de00002"), broken, database(), prometheus(), grafana(), jaeger()}
}

// release is the image of backend and workers. Its healthcheck asks port 8000, whatever the command is: workers and mcp
// inherit a check that fails for them, as they do from the user's image.
func release(version string, tags ...string) Spec {
	s := base("backend", "backend "+version)
	s.Tags = []string{Repository + ":" + version}
	for _, tag := range tags {
		s.Tags = append(s.Tags, BackendRepository+":"+tag)
	}
	s.Files = append(s.Files,
		File{Path: "app", Dir: true, Mode: 0o755, UID: 999, GID: 999},
		File{Path: "app/.venv", Dir: true, Mode: 0o755, UID: 999, GID: 999},
		File{Path: "app/.venv/bin", Dir: true, Mode: 0o755, UID: 999, GID: 999},
		applet("app/.venv/bin/python"),
		applet("app/.venv/bin/uvicorn"),
		File{Path: "app/mcp", Dir: true, Mode: 0o755, UID: 999, GID: 999},
	)
	s.Config.User = "ktrdr"
	s.Config.WorkingDir = "/app"
	s.Config.Env = []string{"PATH=/app/.venv/bin:" + defaultPath, "KTRDRSIM_VERSION=" + version}
	s.Config.ExposedPorts = set("8000/tcp")
	s.Config.Entrypoint = []string{"/usr/bin/tini", "--"}
	s.Config.Cmd = []string{"uvicorn", "ktrdr.api.main:app", "--host", "0.0.0.0", "--port", "8000"}
	s.Config.Healthcheck = &Healthcheck{
		Test:     []string{"CMD-SHELL", "curl -fs http://localhost:8000/api/v1/health || exit 1"},
		Interval: 30 * time.Second, Timeout: 10 * time.Second, StartPeriod: 30 * time.Second, Retries: 3,
	}
	return s
}

// database keeps its data where the user's image keeps it, which is not where the user's Compose file mounts the volume.
func database() Spec {
	s := base("db", "db")
	s.Tags = []string{Repository + ":db", "timescale/timescaledb-ha:pg15"}
	s.Files = append(s.Files, ownedDirs(1000, "home/postgres", "home/postgres/pgdata", "home/postgres/pgdata/data",
		"var/lib/postgresql", "var/lib/postgresql/data")...)
	s.Config.User = "postgres"
	s.Config.WorkingDir = "/home/postgres"
	s.Config.Env = []string{"PATH=" + defaultPath, "PGDATA=/home/postgres/pgdata/data"}
	s.Config.ExposedPorts = set("5432/tcp")
	s.Config.Entrypoint = []string{"/docker-entrypoint.sh"}
	s.Config.Cmd = []string{"postgres"}
	s.Config.StopSignal = "SIGINT"
	return s
}

func prometheus() Spec {
	s := base("prometheus", "prometheus")
	s.Tags = []string{Repository + ":prometheus", "prom/prometheus:latest"}
	s.Files = append(s.Files, ownedDirs(65534, "prometheus", "etc/prometheus")...)
	s.Files = append(s.Files, File{Path: "etc/prometheus/prometheus.yml", Body: "{}\n", Mode: 0o644})
	s.Config.User = "nobody"
	s.Config.WorkingDir = "/prometheus"
	s.Config.ExposedPorts = set("9090/tcp")
	s.Config.Volumes = set("/prometheus")
	s.Config.Entrypoint = []string{"/bin/prometheus"}
	s.Config.Cmd = []string{"--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"}
	return s
}

func grafana() Spec {
	s := base("grafana", "grafana")
	s.Tags = []string{Repository + ":grafana", "grafana/grafana:latest"}
	s.Files = append(s.Files, ownedDirs(472, "var/lib/grafana", "etc/grafana", "etc/grafana/provisioning",
		"etc/grafana/provisioning/datasources", "etc/grafana/provisioning/dashboards")...)
	s.Config.User = "472"
	s.Config.ExposedPorts = set("3000/tcp")
	s.Config.Entrypoint = []string{"/run.sh"}
	return s
}

func jaeger() Spec {
	s := base("jaeger", "jaeger")
	s.Tags = []string{Repository + ":jaeger", "jaegertracing/all-in-one:1.53"}
	s.Config.User = "10001"
	s.Config.ExposedPorts = set("16686/tcp", "4317/tcp", "4318/tcp", "6831/udp")
	s.Config.Volumes = set("/tmp")
	s.Config.Entrypoint = []string{"/go/bin/all-in-one-linux"}
	s.Config.Cmd = []string{"--sampling.strategies-file=/etc/jaeger/sampling_strategies.json"}
	return s
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// base has the names of the program, users and an empty /tmp.
func base(role, title string) Spec {
	files := ownedDirs(0, "bin", "etc", "go", "go/bin", "home", "mnt", "usr", "usr/bin", "var", "var/lib")
	files = append(files,
		File{Path: "tmp", Dir: true, Mode: 0o1777},
		File{Path: "etc/passwd", Mode: 0o644, Body: passwd},
		File{Path: "etc/group", Mode: 0o644, Body: group},
	)
	for _, name := range []string{"sh", "sleep", "cat", "env", "echo", "printf", "true", "false", "prometheus", "grafana"} {
		files = append(files, applet("bin/"+name))
	}
	for _, name := range []string{"tini", "python", "uvicorn", "curl", "wget", "pg_isready", "psql", "fail-after"} {
		files = append(files, applet("usr/bin/"+name))
	}
	files = append(files, applet("run.sh"), applet("docker-entrypoint.sh"), applet("go/bin/all-in-one-linux"))
	labels := map[string]string{Label: role, "org.opencontainers.image.title": "KTRDR demonstration: " + title}
	return Spec{Files: files, Config: Config{Env: []string{"PATH=" + defaultPath}, Labels: labels}}
}

const (
	passwd = "root:x:0:0:root:/:/bin/sh\nktrdr:x:999:999::/app:/bin/sh\npostgres:x:1000:1000::/home/postgres:/bin/sh\n" +
		"nobody:x:65534:65534::/:/bin/sh\n"
	group = "root:x:0:\nktrdr:x:999:\npostgres:x:1000:\nnogroup:x:65534:\n"
)

// applet is a name under which the program is called.
func applet(path string) File { return File{Path: path, Link: "/" + ProgramPath} }

func ownedDirs(owner int, paths ...string) []File {
	var files []File
	for _, path := range paths {
		files = append(files, File{Path: path, Dir: true, Mode: 0o755, UID: owner, GID: owner})
	}
	return files
}

func set(names ...string) map[string]struct{} {
	all := map[string]struct{}{}
	for _, name := range names {
		all[name] = struct{}{}
	}
	return all
}
