/** Rooms that make attempts (`attempts.c`), by the shim alone: no node, no Bun inside. */
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compiler } from "../../../ffi/build.ts";
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import { shimPath } from "../../../ffi/library.ts";
import {
  LAYERS,
  type Layer,
  type RoomEnd,
  type RoomOrder,
  type RoomProcess,
  type RoomRule,
  roomEnd,
  startInRoom,
} from "../../../ffi/sandbox.ts";
import { run } from "../../support/compilers.ts";
import { Scratch } from "../../support/scratch.ts";
import { until } from "../../support/until.ts";

const SYSTEM: readonly RoomRule[] = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"].map((path) => ({
  permits: "readAndExecute",
  path,
}));
const NOT_SEALED = -1;

/** A room that differs from a whole one, which is sealed and allows nothing. */
export interface Room extends Partial<RoomOrder> {
  sealed?: boolean;
}

export interface Tried {
  results: Record<string, number>;
  end: RoomEnd;
  layers: ReadonlySet<Layer>;
}

/** All layers that there are for a room without a user of its own, less some. */
export const without = (...left: Layer[]): Layer[] =>
  LAYERS.filter((layer) => layer !== "uid" && !left.includes(layer));

export class Rooms implements Disposable {
  readonly #scratch = new Scratch();
  readonly #program = this.#scratch.join("attempts");
  readonly secret = this.#scratch.file("secret", "of another");
  readonly folder = this.#scratch.join("room");
  readonly #sockets: { stop(): void }[];
  readonly port: number;
  /** A process that is no room's. */
  readonly #other = Bun.spawn(["sleep", "1000000"], { stdio: ["ignore", "ignore", "ignore"] });
  #started = 0;

  constructor() {
    const source = join(import.meta.dir, "attempts.c");
    run([compiler()!, "-O1", "-pthread", "-o", this.#program, source, "-ldl"], "/");
    for (const name of ["", "package", "scratch"]) mkdirSync(join(this.folder, name));
    writeFileSync(join(this.folder, "package/module"), "of this one");
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    this.port = listener.port;
    const named = Bun.listen({ unix: `\0rfaas-test-room-${this.port}`, socket: { data() {} } });
    this.#sockets = [listener, named];
  }

  /** Starts a program that makes attempts, each by its name, in a room. */
  start(room: Room, names: readonly string[]): RoomProcess & { output: string } {
    const { sealed, ...order } = room;
    const terms = (order.network ? 1 : 0) | (order.processes ? 2 : 0);
    const output = this.#scratch.file(`output-${this.#started++}`, "");
    const descriptors = [openSync("/dev/null", "r"), openSync(output, "w"), 2];
    const command = [
      ...[this.#program, shimPath(), String(sealed === false ? NOT_SEALED : terms)],
      ...[this.folder, this.secret, String(this.#other.pid), String(this.port), ...names],
    ];
    try {
      const started = startInRoom(
        {
          network: false,
          processes: false,
          folder: join(this.folder, "scratch"),
          rules: this.#rules(room),
          ...order,
        },
        { command, environment: { PATH: "/usr/bin:/bin" }, descriptors },
      );
      return { ...started, output };
    } finally {
      for (const fd of descriptors.slice(0, 2)) closeDescriptor(fd);
    }
  }

  /** Makes attempts, and waits for their end. A result is 0, or an errno. */
  async try(room: Room, ...names: string[]): Promise<Tried> {
    const { pid, pidfd, output, layers } = this.start(room, names);
    const end = await this.end(pid);
    closeDescriptor(pidfd);
    return { results: resultsIn(output), end, layers };
  }

  async end(pid: number): Promise<RoomEnd> {
    let end: RoomEnd | undefined;
    await until(() => (end = roomEnd(pid)) !== undefined, "the room has ended");
    return end!;
  }

  #rules({ processes = false }: Room): RoomRule[] {
    return [
      ...SYSTEM,
      { permits: "readAndExecute", path: this.#program },
      { permits: "read", path: shimPath() },
      { permits: "read", path: join(this.folder, "package") },
      { permits: processes ? "writeAndExecute" : "write", path: join(this.folder, "scratch") },
    ];
  }

  [Symbol.dispose](): void {
    this.#other.kill("SIGKILL");
    for (const socket of this.#sockets) socket.stop();
    this.#scratch[Symbol.dispose]();
  }
}

export function resultsIn(path: string): Record<string, number> {
  const lines = readFileSync(path, "latin1").matchAll(/^(\S+) (-?\d+)$/gm);
  return Object.fromEntries([...lines].map(([, name, result]) => [name!, Number(result)]));
}
