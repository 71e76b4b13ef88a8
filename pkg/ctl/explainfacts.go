package ctl

// factReasons are those of what the agent looks at beside the engine: registrations and backups.
func factReasons() []Explanation {
	return []Explanation{
		{
			"NotRegistered", "The container runs, but is not in the list where its service registers. Nothing is restarted for it.",
			"Read the container's log, and compare the entries of the list with match in stack.yaml; the message has both names.",
		},
		{
			"RegistrarUnreachable", "What lists the registered services does not answer, or not with a list that can be read: nobody can tell who is registered. Nothing is restarted for it.",
			"Bring back what listens at the address in the message, or correct registration.url in stack.yaml.",
		},
		{
			"BackupMissing", "No file tells that a backup happened: there is none of that name, or the folder can't be read.",
			"Run the backup and read what it says; check path and pattern of the backup in node or stack.",
		},
		{
			"BackupStale", "The newest backup is older than its maxAge.",
			"Find out why the backup did not run: its timer or cron, and its log.",
		},
		{
			"BackupTooSmall", "The newest file of a backup is smaller than its minSize: a dump that failed looks like that.",
			"Run the backup by hand and read what it says; keep the older files until it works.",
		},
	}
}
