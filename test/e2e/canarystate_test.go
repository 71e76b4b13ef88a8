package e2e_test

import "strings"

// canaryApp uses canaries in every way that there is, delivered as files.
const canaryApp = `
services:
  web:
    image: e2e-canary:shell
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    environment: {WORD: "${WORD}", NASTY: "${NASTY}", KEY: "${KEY}", URL: "postgres://app:${WORD}@db/app?key=${NASTY}"}
    healthcheck:
      test: ["CMD-SHELL", "[ \"$$WORD\" = '${WORD}' ] && [ \"$$NASTY\" = '${NASTY}' ]"]
      interval: 500ms
      retries: 3
      start_period: 1s
    post_start: [{command: ["sh", "-c", "[ \"$$P\" = \"$$KEY\" ]"], environment: {P: "${KEY}"}}]
    secrets: [{source: key, uid: "999", mode: 0440}]
    configs: [{source: conf, target: /etc/app.conf}]
    deploy: {update_config: {monitor: 2s}}
  pin:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "pin"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {PIN: "${PIN}"}
  pulled:
    image: REGISTRY/e2e/web:1
    command: ["http", "--port", "8082", "--name", "pulled"]
    restart: unless-stopped
    healthcheck: {disable: true}
secrets:
  key: {external: true, name: "op://VAULT/key"}
configs:
  conf: {content: "password = ${WORD}\n"}
`

// canaryOpen is the control: a stack that puts its secret where everybody sees it.
const canaryOpen = `
services:
  open:
    image: ktrdr-demo:1
    command: ["http", "--port", "8083", "--name", "open"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {OPEN: "${OPEN}"}
`

// printAll prints every canary after a word; $$ is Compose's way to write the shell's $.
const printAll = `printf '%s %s\n%s\n%s pin %s\n' WORD-THAT-SAYS "$$WORD" "$$NASTY" "$$KEY" "$$PIN"`

const everyVariable = `{WORD: "${WORD}", NASTY: "${NASTY}", KEY: "${KEY}", PIN: "${PIN}"}`

// canarySick has a healthcheck and a probe that print all they know when they fail.
const canarySick = `
services:
  sick:
    image: e2e-canary:shell
    command: ["http", "--port", "8084", "--name", "sick"]
    restart: unless-stopped
    environment: ` + everyVariable + `
    healthcheck:
      test: ["CMD-SHELL", "PRINT; exit 1"]
      interval: 500ms
      retries: 1
      start_period: 1ms
  probed:
    image: e2e-canary:shell
    command: ["http", "--port", "8085", "--name", "probed"]
    restart: unless-stopped
    environment: ` + everyVariable + `
`

// canaryRefused makes the engine repeat a secret in its refusals: that of a create, and
// that of a start, which it also remembers as the container's error.
const canaryRefused = `
services:
  uncreated:
    image: ktrdr-demo:1
    command: ["http", "--port", "8086", "--name", "uncreated"]
    working_dir: "${OPEN}"
  unstarted:
    image: ktrdr-demo:1
    command: ["http", "--port", "8087", "--name", "unstarted"]
    user: "${OPEN}"
`

// crashing is canaryApp with an update of web that prints all it knows and ends.
func (w *canaryWorld) crashing() string {
	text := strings.Replace(w.fill(canaryApp), `    command: ["http", "--port", "8080", "--name", "web"]`,
		"    entrypoint: [\"/bin/sh\", \"-c\", "+quoteYAML(w.print("CRASH-SAYS")+"; exit 3")+"]", 1)
	return strings.Replace(text, `KEY: "${KEY}", URL`, `KEY: "${KEY}", PIN: "${PIN}", URL`, 1)
}

func (w *canaryWorld) print(word string) string {
	return strings.Replace(printAll, "WORD-THAT-SAYS", word, 1)
}

// quoteYAML quotes for a double-quoted text of YAML.
func quoteYAML(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

func (w *canaryWorld) fill(compose string) string {
	sick := quoteYAML(w.print("HEALTHCHECK-SAYS"))
	sick = sick[1 : len(sick)-1]
	return strings.NewReplacer("REGISTRY", w.registry, "VAULT", vaultOfUser+"/"+itemOfUser, "PRINT", sick).Replace(compose)
}

// writeState writes the desired state.
func (w *canaryWorld) writeState() {
	const vault = "op://" + vaultOfUser + "/" + itemOfUser + "/"
	variables := "\nvariables:\n"
	for _, name := range []string{"WORD", "NASTY", "KEY", "PIN", "OPEN", "ROTATED"} {
		variables += "  " + name + ": " + vault + strings.ToLower(name) + "\n"
	}
	w.write("fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: e2e}\nspec:\n  registries:\n"+
		"  - {host: '"+w.registry+"', username: robot, password: '"+vault+"login'}\n")
	w.node("stacks: [{name: app}, {name: open}, {name: sick}, {name: refused}, {name: kept}]")
	w.stack(variables)
	w.compose(w.fill(canaryApp))
	probe := "services:\n  probed:\n    probe:\n      exec: [sh, -c, " + quoteYAML("[ ! -e /bad ] || { "+strings.ReplaceAll(w.print("PROBE-SAYS"), "$$", "$")+"; exit 1; }") +
		"]\n      interval: 1s\n      failures: 1\n"
	for name, s := range map[string]struct{ spec, compose string }{
		"open": {"delivery: env" + variables, canaryOpen}, "sick": {probe + variables, canarySick}, "refused": {"delivery: env" + variables, canaryRefused},
		"kept": {"services: {kept: {rotation: [{secret: ROTATED, exec: [sh, -c, " + quoteYAML(rotationCommand) + "]}]}}" + variables, canaryKept},
	} {
		w.write("stacks/"+name+"/stack.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: "+name+"}\nspec:\n  project: "+w.project+"-"+name+"\n"+indent(s.spec))
		w.write("stacks/"+name+"/compose.yaml", w.fill(s.compose))
	}
}

// of is the name of a container of another stack than app.
func (w *canaryWorld) of(stack string, service ...string) string {
	name := stack
	if len(service) > 0 {
		name = service[0]
	}
	return w.project + "-" + stack + "-" + name + "-1"
}
