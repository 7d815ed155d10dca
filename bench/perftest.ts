/** The field's own yardsticks, where they are installed: `ib_write_lat` and `ib_write_bw`, both ends on this machine. */
import { type ChosenGid, chooseGid, rdmaDevices } from "../src/fabric/devices.ts";
import type { VerbsOptions } from "../src/fabric/offer.ts";

export class Perftest {
  readonly #at: ChosenGid;

  constructor(options: VerbsOptions) {
    this.#at = chooseGid(rdmaDevices(), options);
  }

  /** Typical one-way time of a write of `bytes` bytes; undefined when `ib_write_lat` is missing or fails. */
  async latencyNs(bytes: number, iterations: number): Promise<number | undefined> {
    const columns = await this.#run("ib_write_lat", bytes, iterations);
    // bytes, iterations, t_min, t_max, t_typical, ..: in microseconds
    return columns?.[4] === undefined ? undefined : columns[4] * 1000;
  }

  /** Bytes a second of a stream of writes; undefined when `ib_write_bw` is missing or fails. */
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
    words.push("-s", String(bytes), "-n", String(iterations), "-p", String(freePort()));
    const server = Bun.spawn(words, { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
    try {
      await said(server.stdout, "Waiting for client");
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

async function said(stream: ReadableStream<Uint8Array>, words: string): Promise<void> {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  for (let heard = ""; !heard.includes(words);) {
    const { value, done } = await reader.read();
    if (done) return;
    heard += decoder.decode(value, { stream: true });
  }
  // It listens a moment after it has said so, and its client tries once.
  await Bun.sleep(200);
}

/** A port that was free a moment ago. */
function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop();
  return port;
}
