package batch

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
)

// missing says that a property that must be there is not.
func missing(at string) error {
	return arm.BadRequest("MissingRequiredProperty", at, "The property '%s' is required.", at)
}

// invalid says that a property's value is wrong.
func invalid(at, format string, args ...any) error {
	return arm.BadRequest("InvalidPropertyValue", at, "The value of the property '%s' is not valid: %s.", at, fmt.Sprintf(format, args...))
}

// oneOf gives a value the spelling of one of the allowed ones; empty becomes the first.
func oneOf(at string, v *string, allowed ...string) error {
	if *v == "" {
		*v = allowed[0]
		return nil
	}
	i := slices.IndexFunc(allowed, func(a string) bool { return strings.EqualFold(a, *v) })
	if i < 0 {
		return invalid(at, "it is one of %s", strings.Join(allowed, ", "))
	}
	*v = allowed[i]
	return nil
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// each checks all elements of a list, and returns the first error.
func each[T any](list []T, at string, check func(v *T, at string) error) error {
	for i := range list {
		if err := check(&list[i], fmt.Sprintf("%s[%d]", at, i)); err != nil {
			return err
		}
	}
	return nil
}

var (
	variableRule = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	idRule       = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
	octalRule    = regexp.MustCompile(`^0?[0-7]{3}$`)
	userRule     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,31}$`)
	shmRule      = regexp.MustCompile(`^(?i)\d{1,12}[bkmg]?$`)
	keyRule      = regexp.MustCompile(`^(ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+) \S+`)
)

// checkVariables checks environment variables and secrets, which share their names.
func checkVariables(at string, env, secrets []variable) error {
	seen := map[string]bool{}
	check := func(v *variable, at string) error {
		switch {
		case v.Name == "":
			return missing(at + ".name")
		case !variableRule.MatchString(v.Name):
			return invalid(at+".name", "names of variables have letters, digits and '_', and do not begin with a digit")
		case seen[v.Name]:
			return arm.BadRequest("DuplicateEnvironmentVariable", at+".name", "The environment variable '%s' is given twice.", v.Name)
		case strings.ContainsRune(string(v.Value), 0):
			return invalid(at+".value", "it has a zero byte in it")
		}
		seen[v.Name] = true
		return nil
	}
	return first(each(env, at+"environmentVariables", check), each(secrets, at+"secrets", check))
}

// checkMountVolumes checks what is to be mounted, apart from what Drives knows.
func checkMountVolumes(m *mountVolumes, at string) error {
	seen := map[string]bool{}
	path := func(p, at string) error {
		clean := relative(p)
		switch {
		case p == "":
			return missing(at + ".relativeMountPath")
		case clean == "" || strings.HasPrefix(p, "/") || slices.Contains(strings.Split(p, "/"), "..") || strings.ContainsAny(p, "\x00\n"):
			return invalid(at+".relativeMountPath", "it is a path below the mount root, without '..'")
		case seen[clean]:
			return arm.BadRequest("DuplicateMountPath", at+".relativeMountPath", "Two file systems are mounted at '%s'.", clean)
		}
		seen[clean] = true
		return nil
	}
	return first(
		each(m.Shares, at+"azureFileShares", func(s *fileShare, at string) error { return first(checkShare(s, at), path(s.Path, at)) }),
		each(m.Containers, at+"azureBlobFileSystems", func(c *blobContainer, at string) error { return first(checkContainer(c, at), path(c.Path, at)) }),
		each(m.Servers, at+"fileServers", func(s *fileServerUse, at string) error {
			if s.Server.ID == "" {
				return missing(at + ".fileServer.id")
			}
			return path(s.Path, at)
		}),
		each(m.Unmanaged, at+"unmanagedFileSystems", func(u *unmanagedMount, at string) error {
			if strings.TrimSpace(u.Command) == "" {
				return missing(at + ".mountCommand")
			}
			return path(u.Path, at)
		}))
}

func checkShare(s *fileShare, at string) error {
	share, _ := s.shareName()
	switch {
	case s.Account == "":
		return missing(at + ".accountName")
	case s.URL == "":
		return missing(at + ".azureFileUrl")
	case share == "" || !strings.HasPrefix(strings.ToLower(s.URL), "https://"+strings.ToLower(s.Account)+".file."):
		return invalid(at+".azureFileUrl", "it has the form https://%s.file.{suffix}/{share}", s.Account)
	case s.FileMode != "" && !octalRule.MatchString(s.FileMode):
		return invalid(at+".fileMode", "it is a mode in octal such as 0777")
	case s.DirMode != "" && !octalRule.MatchString(s.DirMode):
		return invalid(at+".directoryMode", "it is a mode in octal such as 0777")
	}
	return checkCredentials(&s.Credentials, at)
}

func checkContainer(c *blobContainer, at string) error {
	switch {
	case c.Account == "":
		return missing(at + ".accountName")
	case c.Container == "":
		return missing(at + ".containerName")
	}
	return checkCredentials(&c.Credentials, at)
}

func checkCredentials(c *credentials, at string) error {
	if c.Key != "" {
		return nil
	}
	return arm.BadRequest("InvalidCredentials", at+".credentials.accountKey", "The storage account's key is missing in '%s'.", at+".credentials")
}

// noVaults refuses secrets that are to be read from a key vault, anywhere in a wish.
func noVaults(v any, at string) error {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if strings.HasSuffix(strings.ToLower(k), "secretreference") && v[k] != nil {
				return arm.BadRequest("KeyVaultReferenceNotSupported", at+"."+k, "Secrets of a key vault are not served yet: give the value itself in place of '%s.%s'.", at, k)
			}
			if err := noVaults(v[k], at+"."+k); err != nil {
				return err
			}
		}
	case []any:
		for i := range v {
			if err := noVaults(v[i], fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPath checks a path of a job or cluster: one below a mount root must lie in what is mounted there.
func checkPath(p, at string, ofCluster, ofJob *mountVolumes) error {
	if p == "" {
		return missing(at)
	}
	if strings.ContainsAny(p, "\x00\n") {
		return invalid(at, "paths have no line breaks")
	}
	for _, v := range mountVariables {
		rest, is := strings.CutPrefix(p, v.text)
		if !is || rest != "" && rest[0] != '/' {
			continue
		}
		if _, ok := locate(p, ofCluster, ofJob); ok {
			return nil
		}
		m := ofCluster
		if v.job {
			m = ofJob
		}
		return arm.BadRequest("MountVolumeNotFound", at, "The path '%s' is in no file system that is mounted at %s; mounted there: %s.", p, v.text, mountedAt(m))
	}
	if p[0] != '/' && p[0] != '$' {
		return invalid(at, "it is an absolute path, or begins with a variable such as $AZ_BATCHAI_MOUNT_ROOT")
	}
	return nil
}

// mountedAt lists where volumes are mounted.
func mountedAt(m *mountVolumes) string {
	var all []string
	if m != nil {
		for _, v := range m.volumes() {
			all = append(all, v.at())
		}
	}
	if all == nil {
		return "nothing"
	}
	return strings.Join(all, ", ")
}
