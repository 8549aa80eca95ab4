// Go as the article this project answers writes it: a goroutine and a 4 KiB buffer per connection.
// Workers are the threads that may run goroutines at a time; one listener serves them all.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
)

const (
	backlog         = 4096
	bufferBytes     = 4 << 10
	headerBytes     = 4
	payloadBytesMax = 64 << 10
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address and port to listen on")
	service := flag.String("service", "echo", "what to answer: echo or frames")
	workers := flag.Int("workers", 1, "threads that serve")
	flag.Parse()
	serve := map[string]func(net.Conn) error{"echo": echo, "frames": frames}[*service]
	if serve == nil || *workers < 1 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "--service must be echo or frames, --workers at least 1")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(*workers)
	if err := run(*address, serve); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address string, serve func(net.Conn) error) error {
	if err := raiseDescriptorLimit(); err != nil {
		return err
	}
	listener, err := listen(address)
	if err != nil {
		return err
	}
	fmt.Printf("{\"listen\":[%q]}\n", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			_ = serve(connection) // What fails ends this connection and nothing else.
		}()
	}
}

// Go sets TCP_NODELAY on what it accepts; keepalive, its other habit, is off here as everywhere.
func listen(address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, err
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), backlog) }); err != nil {
		return nil, err
	}
	return listener, listenErr
}

func echo(connection net.Conn) error {
	buffer := make([]byte, bufferBytes)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := connection.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

// Answers each frame when it is whole.
func frames(connection net.Conn) error {
	reader := bufio.NewReaderSize(connection, bufferBytes)
	frame := make([]byte, headerBytes)
	for {
		if _, err := io.ReadFull(reader, frame[:headerBytes]); err != nil {
			return err
		}
		payloadBytes := binary.BigEndian.Uint32(frame)
		if payloadBytes > payloadBytesMax {
			return errors.New("a frame is too long")
		}
		if end := headerBytes + int(payloadBytes); end > cap(frame) {
			frame = append(make([]byte, 0, end), frame[:headerBytes]...)
		}
		frame = frame[:headerBytes+int(payloadBytes)]
		if _, err := io.ReadFull(reader, frame[headerBytes:]); err != nil {
			return err
		}
		if _, err := connection.Write(frame); err != nil {
			return err
		}
	}
}

func raiseDescriptorLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
