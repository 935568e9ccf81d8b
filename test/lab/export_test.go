package lab

// For tests of the lab itself.
var (
	Sweep     = sweep
	NetnsDir  = netnsDir
	StartTime = startTime
	Crowded   = crowded
)
