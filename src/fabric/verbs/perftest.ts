/** The field's own yardsticks, where they are installed: `ib_write_lat` and `ib_write_bw`, both ends on this machine. */
import { readFileSync } from "node:fs";
import { pinThread } from "../../../ffi/system.ts";
import type { Yardstick } from "../floor.ts";
import { type ChosenGid, chooseGid, rdmaDevices } from "./devices.ts";
import type { VerbsOptions } from "./options.ts";

const LISTEN_POLL_MS = 20;
const LISTEN_TRIES = 250;

export class Perftest implements Yardstick {
  readonly #at: ChosenGid;

  constructor(options: VerbsOptions) {
    this.#at = chooseGid(rdmaDevices(), options);
  }

  async latencyNs(bytes: number, iterations: number): Promise<number | undefined> {
    const columns = await this.#run("ib_write_lat", bytes, iterations);
    // bytes, iterations, t_min, t_max, t_typical, ..: in microseconds
    return columns?.[4] === undefined ? undefined : columns[4] * 1000;
  }

  async bytesPerS(bytes: number, iterations: number): Promise<number | undefined> {
    const columns = await this.#run("ib_write_bw", bytes, iterations);
    // bytes, iterations, peak, average, ..: in MiB/s
    return columns?.[3] === undefined ? undefined : columns[3] * 2 ** 20;
  }

  async #run(program: string, bytes: number, iterations: number): Promise<number[] | undefined> {
    const path = Bun.which(program);
    if (!path) return undefined;
    const { device, port, gid } = this.#at;
    const words = [path, "-d", device, "-i", String(port), "-x", String(gid.index), "-F"];
    // A child inherits the benchmark's pin, and two that spin on one CPU measure its scheduler.
    pinThread(-1);
    const listenAt = freePort();
    words.push("-s", String(bytes), "-n", String(iterations), "-p", String(listenAt));
    const server = Bun.spawn(words, { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    try {
      if (!(await untilListening(listenAt))) return undefined;
      const client = Bun.spawn([...words, "localhost"], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "ignore",
      });
      const report = await new Response(client.stdout).text();
      if ((await client.exited) !== 0) return undefined;
      const row = report.split("\n").findLast((line) => /^\s*\d+(\s+[\d.]+){3,}\s*$/.test(line));
      return row?.trim().split(/\s+/).map(Number);
    } finally {
      server.kill();
      await server.exited;
    }
  }
}

/** Waits until the server listens at the port. It does not try to connect: the server would take that for its client. */
async function untilListening(port: number): Promise<boolean> {
  const local = new RegExp(`^ *\\d+: \\S+:${hex(port)} \\S+ 0A `, "m");
  for (let tries = 0; tries < LISTEN_TRIES; tries++) {
    for (const table of ["/proc/net/tcp", "/proc/net/tcp6"])
      if (local.test(textOf(table))) return true;
    await Bun.sleep(LISTEN_POLL_MS);
  }
  return false;
}

/** Of a file that may not be there: a kernel without IPv6 has no table of its sockets. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, "0");

/** A port that was free a moment ago. */
function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop();
  return port;
}
