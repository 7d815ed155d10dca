/**
 * A room by bubblewrap: a tree of mounts that shows the system's programs and libraries, the package and a scratch folder, and process,
 * network and IPC namespaces of its own. The host is the first process of its namespace: when it ends, the kernel ends all others.
 */
import { closeSync, constants, openSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Finding } from "../../../base/finding.ts";
import { containerGuards } from "../containers/guards.ts";
import { inOurs } from "../containers/inside.ts";
import { lackIfFails, lackOf } from "../containers/lack.ts";
import { startWrapped } from "../containers/wrapped-host.ts";
import { FIRST_FD } from "../child.ts";
import type { HostStart, SandboxDriver, StartedHost } from "../driver.ts";
import { CLOSED, OWN_USERS, bwrapLine, bwrapVariables } from "./line.ts";

export const bwrap = {
  name: "bwrap",
  rooms: true,
  ownNetwork: true,
  seals: true,
  users: true,
  usersTake: ["SETGID", "SETUID", "SYS_ADMIN"],
  images: "folders",
  inside: inOurs,
  inMemory: ({ scratch }) => [scratch, "/dev"],
  whyNot,
  guards: () => containerGuards("mount namespace"),
  start,
} as const satisfies SandboxDriver;

/** A lease's variables reach its host alone: bwrap, and the shell before it, are no processes of a room. */
function start(host: HostStart): StartedHost {
  const path = join(dirname(host.folders!.scratch), "variables");
  writeFileSync(path, bwrapVariables(host.environment), { mode: 0o600, flag: "wx" });
  const variables = openSync(path, constants.O_RDONLY);
  try {
    const descriptors = [...host.descriptors, variables];
    const line = bwrapLine(Bun.which("bwrap")!, FIRST_FD + host.descriptors.length, host);
    return startWrapped(line, { ...host, descriptors, environment: {} });
  } finally {
    closeSync(variables);
  }
}

/** A version before 0.7 cannot bound what is in memory. */
const SIZED = ["--size", "4096", "--tmpfs", "/tmp"];

/** Tried: whether there are namespaces for this user is known to the kernel alone. */
function whyNot(): Finding | undefined {
  const name = "bwrap";
  const program = Bun.which("bwrap");
  if (program === null)
    return lackOf({
      ...{ name, found: "bubblewrap is not installed" },
      fix: "apt-get install bubblewrap",
    });
  return lackIfFails(
    [
      program,
      ...CLOSED,
      ...OWN_USERS,
      "--unshare-net",
      "--ro-bind",
      "/",
      "/",
      ...SIZED,
      "--",
      "/bin/true",
    ],
    {
      ...{ name, found: "bubblewrap makes no namespaces here" },
      fix: "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000",
    },
  );
}
