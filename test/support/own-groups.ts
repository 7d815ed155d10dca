/** Control groups for a node of a test, of whichever version the machine has: those of root's own, or delegated to another user. */
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { groups } from "../../src/base/machine/cgroup.ts";

const CONTROLLERS = ["memory", "pids"] as const;
export type Controller = (typeof CONTROLLERS)[number];

const REMOVE_TRIES = 500;
const REMOVE_PAUSE_MS = 20;

let made = 0;

export class OwnGroups implements Disposable {
  readonly version: 1 | 2;
  /** What is bounded, and the group in which it is. */
  readonly folders: ReadonlyMap<Controller, string>;

  private constructor(version: 1 | 2, folders: ReadonlyMap<Controller, string>) {
    this.version = version;
    this.folders = folders;
  }

  /** Below the groups of this process, for this user. Throws where there can be none. */
  static make(user = 0): OwnGroups {
    const all = groups("/");
    const name = `rfaas-test-${process.pid}-${made++}`;
    const of = (controller: Controller) =>
      all.find(({ version, controllers }) => version === 1 && controllers.includes(controller));
    const version = of("memory") ? 1 : 2;
    const folders = new Map<Controller, string>();
    for (const controller of CONTROLLERS) {
      const group = version === 1 ? of(controller) : all.find((each) => each.version === 2);
      if (!group) throw new Error(`this machine has no control groups of ${controller}`);
      const parent = group.folders[0]!;
      if (version === 2) writeFileSync(join(parent, "cgroup.subtree_control"), `+${controller}`);
      folders.set(controller, join(parent, name));
    }
    for (const folder of new Set(folders.values())) {
      mkdirSync(folder);
      // As `cgroups(7)` says of delegation: the group itself, and what moves processes and controllers.
      const delegated = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"];
      for (const path of [folder, ...delegated.map((file) => join(folder, file))])
        if (existsSync(path)) chownSync(path, user, user);
    }
    return new OwnGroups(version, folders);
  }

  /** What comes before a command that is to run in them. */
  get within(): string[] {
    const enter = [...this.folders.values()].map((folder) => `echo $$ > ${folder}/cgroup.procs`);
    return ["sh", "-c", `${enter.join(" && ")} && exec "$@"`, "sh"];
  }

  /** Names of groups below them. */
  get inside(): string[] {
    return [...new Set(this.folders.values())].flatMap((folder) =>
      readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name),
    );
  }

  [Symbol.dispose](): void {
    for (const folder of new Set(this.folders.values())) removeAll(folder);
  }
}

function removeAll(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true }))
    if (entry.isDirectory()) removeAll(join(folder, entry.name));
  // The kernel keeps a group for as long as the last of its processes dies.
  for (let tries = 0; ; tries++) {
    try {
      return rmdirSync(folder);
    } catch (error) {
      if (tries === REMOVE_TRIES) throw error;
      Bun.sleepSync(REMOVE_PAUSE_MS);
    }
  }
}

/** The group of a process in which that is bounded. */
export function groupOf(pid: number, controller: Controller): string {
  const all = groups("/");
  const own =
    all.find(({ version, controllers }) => version === 1 && controllers.includes(controller)) ??
    all.find(({ version }) => version === 2)!;
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8")
    .split("\n")
    .map((line) => line.split(":"));
  const line =
    lines.find(([, controllers]) => controllers?.split(",").includes(controller)) ??
    lines.find(([id]) => id === "0")!;
  return join(own.folders.at(-1)!, line.slice(2).join(":"));
}
