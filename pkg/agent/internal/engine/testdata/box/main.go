// Command box is what the containers of the engine's tests run.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	verb := "serve"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	switch verb {
	case "serve":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
		fmt.Println("serving")
		fmt.Fprintln(os.Stderr, "to stderr")
		fmt.Println("stopped by", <-stop)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		fmt.Println("stubborn")
		time.Sleep(time.Hour)
	case "cat":
		for _, name := range os.Args[2:] {
			file, err := os.Open(name)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			_, _ = io.Copy(os.Stdout, file)
		}
	case "stat":
		info, err := os.Stat(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		owner := info.Sys().(*syscall.Stat_t)
		fmt.Printf("%s %d %d", info.Mode(), owner.Uid, owner.Gid)
	case "write":
		if err := os.WriteFile(os.Args[2], []byte(os.Args[3]), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "exit":
		fmt.Println(strings.Join(os.Args[3:], " "))
		var code int
		_, _ = fmt.Sscan(os.Args[2], &code)
		os.Exit(code)
	}
}
