package batch

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
)

// stdDir is where a job's output and execution.log are. Its prefix may hold variables.
func stdDir(prefix, segment string) string {
	return strings.TrimSuffix(prefix, "/") + "/" + segment + "/stdouterr"
}

// outputPath is an output directory of a job. Its prefix may hold variables.
func outputPath(prefix, segment, suffix string) string {
	dir := strings.TrimSuffix(prefix, "/") + "/" + segment + "/outputs"
	if suffix = strings.Trim(suffix, "/"); suffix != "" {
		dir += "/" + suffix
	}
	return dir
}

// environment works out the variables that all of the job's processes have.
func (p *planner) environment() {
	id := arm.ParsePath(p.ID)
	p.dir = p.Root + "/jobs/" + strings.Join(id.Names, "/")
	hosts := p.addresses()
	p.env = map[string]string{
		"AZ_BATCHAI_MOUNT_ROOT":        p.Root + "/mounts",
		"AZ_BATCHAI_JOB_MOUNT_ROOT":    p.dir + "/mounts",
		"AZ_BATCHAI_JOB_NAME":          id.Name(),
		"AZ_BATCHAI_JOB_TEMP":          p.dir,
		"AZ_BATCHAI_JOB_TEMP_DIR":      p.Root + "/jobs/",
		"AZ_BATCHAI_JOB_WORK_DIR":      p.dir + "/wd",
		"AZ_BATCHAI_MPI_HOST_FILE":     p.dir + "/hostfile",
		"AZ_BATCHAI_MPI_MASTER_NODE":   hosts[0],
		"AZ_BATCHAI_NUM_GPUS":          "0",
		"AZ_BATCHAI_NUM_GPUS_PER_NODE": "0",
		"AZ_BATCH_MASTER_NODE":         hosts[0] + ":6000",
		"AZ_BATCH_NODE_LIST":           strings.Join(hosts, ";"),
		"AZ_BATCH_HOST_LIST":           strings.Join(hosts, ","),
	}
	prefix := p.expand(p.Job.OutPrefix)
	p.std = stdDir(prefix, p.Job.Segment)
	p.env["AZ_BATCHAI_STDOUTERR_DIR"] = p.std
	p.env["AZ_BATCHAI_SHARED_JOB_TEMP"] = p.dir + "/shared"
	if len(p.Nodes) > 1 {
		p.env["AZ_BATCHAI_SHARED_JOB_TEMP"] = strings.TrimSuffix(p.std, "/stdouterr") + "/shared"
	}
	for _, d := range p.Job.Inputs {
		p.env["AZ_BATCHAI_INPUT_"+d.ID] = p.expand(d.Path)
	}
	for _, d := range p.Job.Outputs {
		p.env["AZ_BATCHAI_OUTPUT_"+d.ID] = outputPath(p.expand(d.Prefix), p.Job.Segment, d.Suffix)
	}
	for _, v := range p.Job.Env {
		p.env[v.Name] = p.expand(string(v.Value))
	}
	for _, v := range p.Job.Secrets {
		p.env[v.Name] = string(v.Value)
	}
}

// environmentOn adds a node's own variables.
func (p *planner) environmentOn(n int) map[string]string {
	env := maps.Clone(p.env)
	env["AZ_BATCHAI_NODE_NAME"] = p.Nodes[n].Node
	return env
}

// directories works out what must exist before the job begins.
func (p *planner) directories() {
	p.dirs = []string{p.dir, p.dir + "/wd"}
	p.outer = []string{p.std}
	if shared := p.env["AZ_BATCHAI_SHARED_JOB_TEMP"]; len(p.Nodes) > 1 {
		p.outer = append(p.outer, shared)
	} else {
		p.dirs = append(p.dirs, shared)
	}
	for _, d := range p.Job.Outputs {
		p.outer = append(p.outer, p.env["AZ_BATCHAI_OUTPUT_"+d.ID])
	}
}

// addresses are the nodes' addresses, in order.
func (p *planner) addresses() []string {
	hosts := make([]string, 0, len(p.Nodes))
	for _, n := range p.Nodes {
		hosts = append(hosts, n.Address)
	}
	return hosts
}

var variableForm = regexp.MustCompile(`\$(\w+|\{\w+\})`)

// expand puts the job's variables into a path or value. What it does not know stays as it is.
func (p *planner) expand(s string) string {
	return variableForm.ReplaceAllStringFunc(s, func(m string) string {
		if v, ok := p.env[strings.Trim(m, "${}")]; ok {
			return v
		}
		return m
	})
}

// word is a path as one word of the shell's, whatever is in it.
func (p *planner) word(path string) string { return quoteWord(p.expand(path)) }

var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// quoteWord quotes a word for the shell. Variables in it that are not the job's are the shell's.
func quoteWord(s string) string {
	switch {
	case plainWord.MatchString(s):
		return s
	case strings.Contains(s, "$"):
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`").Replace(s) + `"`
	}
	return quoteLiteral(s)
}

// quoteLiteral quotes a word that the shell is to leave as it is.
func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func joined(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
}
