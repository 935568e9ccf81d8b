package config

import "log/slog"

// Log is the section [log]: what is told on stderr.
type Log struct {
	Level  LogLevel  `toml:"level"`
	Format LogFormat `toml:"format"`
}

func defaultLog() Log { return Log{Level: LevelInfo, Format: FormatAuto} }

// LogLevel is the least important level that is logged.
type LogLevel string

// The levels.
const (
	LevelDebug LogLevel = "debug"
	LevelInfo  LogLevel = "info"
	LevelWarn  LogLevel = "warn"
	LevelError LogLevel = "error"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *LogLevel) UnmarshalText(b []byte) error {
	return oneOf(l, string(b), LevelDebug, LevelInfo, LevelWarn, LevelError)
}

// Level implements slog.Leveler. The zero LogLevel is info.
func (l LogLevel) Level() slog.Level {
	switch l {
	case LevelDebug:
		return slog.LevelDebug
	case LevelWarn:
		return slog.LevelWarn
	case LevelError:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// LogFormat is how a line of the log looks.
type LogFormat string

// The formats. FormatAuto is FormatPretty on a terminal and FormatText elsewhere.
const (
	FormatAuto   LogFormat = "auto"
	FormatPretty LogFormat = "pretty"
	FormatText   LogFormat = "text"
	FormatJSON   LogFormat = "json"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *LogFormat) UnmarshalText(b []byte) error {
	return oneOf(f, string(b), FormatAuto, FormatPretty, FormatText, FormatJSON)
}
