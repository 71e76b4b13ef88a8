// Command prog is what containers of the conformance suite run; see enginetest.Prog.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	verb, args := "serve", []string{}
	if len(os.Args) > 1 {
		verb, args = os.Args[1], os.Args[2:]
	}
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	number := func(i int) int { n, _ := strconv.Atoi(arg(i)); return n }
	switch verb {
	case "serve":
		os.Exit(serve(0))
	case "serve-until":
		os.Exit(serve(number(0)))
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		tellReady()
		time.Sleep(time.Hour)
	case "exit":
		wait, _ := time.ParseDuration(arg(1))
		time.Sleep(wait)
		os.Exit(number(0))
	case "print":
		fmt.Println(strings.Join(args, " "))
		if os.Getpid() == 1 {
			os.Exit(serve(0))
		}
	case "touch":
		check(os.WriteFile(arg(0), nil, 0o600))
	case "exists":
		_, err := os.Stat(arg(0))
		check(err)
	case "cat":
		f := os.Stdin
		if arg(0) != "" {
			var err error
			f, err = os.Open(arg(0))
			check(err)
		}
		_, err := io.Copy(os.Stdout, f)
		check(err)
	case "getenv":
		value, ok := os.LookupEnv(arg(0))
		if !ok {
			os.Exit(1)
		}
		fmt.Println(value)
	default:
		os.Exit(2)
	}
}

func serve(code int) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	tellReady()
	<-stop
	return code
}

// tellReady makes a file that the suite waits for; without it there is nobody to wait.
func tellReady() { _ = os.WriteFile("/dev/shm/ready", nil, 0o600) }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
