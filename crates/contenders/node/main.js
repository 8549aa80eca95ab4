// Node's `net` as its documentation writes it: a socket object per connection, whose data comes in buffers of its own.
// A process is one worker. Node raises the soft limit on descriptors to the hard one by itself.
'use strict';

const net = require('node:net');
const { parseArgs } = require('node:util');

const BACKLOG = 4096;
const HEADER_BYTES = 4;
const PAYLOAD_BYTES_MAX = 64 << 10;

function refuse(why) {
  console.error(why);
  process.exit(2);
}

// `pipe` stops reading while the peer takes nothing, and ends our side after the peer's.
function echo(socket) {
  socket.pipe(socket);
}

// Answers frames when they are whole.
function frames(socket) {
  let held = Buffer.alloc(0);
  socket.on('data', (data) => {
    held = held.length === 0 ? data : Buffer.concat([held, data]);
    let whole = 0;
    while (held.length - whole >= HEADER_BYTES) {
      const payloadBytes = held.readUInt32BE(whole);
      if (payloadBytes > PAYLOAD_BYTES_MAX) return socket.destroy();
      const end = whole + HEADER_BYTES + payloadBytes;
      if (end > held.length) break;
      whole = end;
    }
    if (whole > 0 && !socket.write(held.subarray(0, whole))) socket.pause();
    held = held.subarray(whole);
  });
  socket.on('drain', () => socket.resume());
  socket.on('end', () => socket.end());
}

function options() {
  try {
    return parseArgs({
      options: {
        listen: { type: 'string', default: '127.0.0.1:0' },
        service: { type: 'string', default: 'echo' },
        workers: { type: 'string', default: '1' },
      },
    }).values;
  } catch (error) {
    return refuse(error.message);
  }
}

const { listen, service, workers } = options();
const serve = new Map([['echo', echo], ['frames', frames]]).get(service);
if (serve === undefined) refuse('--service must be echo or frames');
if (workers !== '1') refuse('node serves with one worker per process: --workers 1');
const [, host, port] = /^(.*):(\d+)$/.exec(listen) ?? refuse('--listen must be ADDRESS:PORT');

const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  socket.on('error', () => {}); // Ends this connection and nothing else.
  serve(socket);
});
server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
server.listen({ host: host.replace(/^\[|\]$/g, ''), port: Number(port), backlog: BACKLOG }, () => {
  const { address, family, port: bound } = server.address();
  const shown = family === 'IPv6' ? `[${address}]` : address;
  console.log(JSON.stringify({ listen: [`${shown}:${bound}`] }));
});
