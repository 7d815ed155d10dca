/** A host in a container that an engine has made: it is no child of the agent's, but below the engine's service or a monitor. */
import { basename, dirname } from "node:path";
import { descendantsTimeNs } from "../../../../ffi/children.ts";
import { closeDescriptor } from "../../../../ffi/descriptors.ts";
import { cpuTimeNs } from "../../../../ffi/system.ts";
import { keepChild } from "../../../base/process.ts";
import { startChild } from "../child.ts";
import type { HostStart, StartedHost } from "../driver.ts";
import { isFirstOfNamespace } from "./first-process.ts";
import { Handed } from "./handed.ts";

export interface Engine {
  /** Runs the container, and exits as the host does. */
  readonly line: readonly string[];
  /** All that this process finds in its environment. */
  readonly environment: HostStart["environment"];
  /** What that process passes on. */
  readonly descriptors: HostStart["descriptors"];
  /** The host's pid, once it is known. */
  findPid(): number | undefined;
  /** Removes the container by its name. */
  readonly remove: readonly string[];
  /** The engine's process is gone; resolves when nothing is left of the container. */
  gone?(): Promise<void>;
}

export class EngineHost implements StartedHost {
  readonly control: number;
  readonly #engine: Engine;
  readonly #kill: () => void;
  #pid: number | undefined;
  #cpuNs: number | undefined;
  #killed = false;

  /** `control` is the agent's end of the host's connection, where the engine passes no descriptors on. */
  constructor(engine: Engine, { output, onExit }: HostStart, control?: number) {
    this.#engine = engine;
    const child = startChild(engine.line, {
      ...{ descriptors: engine.descriptors, environment: engine.environment, output },
      wraps: true,
      onExit: (exit) => {
        void this.#gone().then(() => onExit({ ...exit, cpuNs: this.#cpuNs }));
      },
    });
    this.control = control ?? child.ends[0]!;
    this.#kill = child.kill;
  }

  get pid(): number {
    return this.#found()!;
  }

  /** The engine's own CPU time is not the host's, and no parent of ours learns that of the host. */
  meter(): void {
    const pid = this.#found();
    const hostNs = pid === undefined ? undefined : cpuTimeNs(pid);
    if (hostNs !== undefined)
      this.#cpuNs = Math.max(this.#cpuNs ?? 0, hostNs + descendantsTimeNs(pid!));
  }

  kill(): void {
    this.meter();
    this.#killed = true;
    const pid = this.#found();
    if (pid === undefined) return this.#kill();
    // The pid may be another process's by now.
    if (!isFirstOfNamespace(pid)) return;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It is gone.
    }
  }

  #found(): number | undefined {
    return (this.#pid ??= this.#engine.findPid());
  }

  async #gone(): Promise<void> {
    // It was ended while the engine made it.
    if (this.#killed && this.#found() === undefined) await quietly(this.#engine.remove);
    await this.#engine.gone?.();
  }
}

/** Starts a host in a container whose engine passes no descriptors on: it is handed them. `engineOf` is given the container's name. */
export function startHanded(
  host: HostStart,
  engineOf: (host: HostStart, name: string) => Pick<Engine, "line" | "environment" | "remove">,
): StartedHost {
  const handed = new Handed(host);
  try {
    const name = containerName(host);
    const own = { findPid: () => handed.pid, gone: async () => handed.close() };
    const engine = { ...engineOf(handed.start, name), ...own, descriptors: [] };
    return new EngineHost(engine, handed.start, handed.control);
  } catch (error) {
    handed.close();
    closeDescriptor(handed.control);
    throw error;
  }
}

/** As a host's container is called, after its room. */
export const containerName = ({ folders }: HostStart): string =>
  `rfaas-${basename(dirname(folders!.scratch))}`;

async function quietly(command: readonly string[]): Promise<void> {
  const child = Bun.spawn([...command], { stdio: ["ignore", "ignore", "ignore"] });
  keepChild(child);
  await child.exited;
}
