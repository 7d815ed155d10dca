/**
 * A room by bubblewrap: a tree of mounts that shows the system's programs and libraries, the package and a scratch folder, and process,
 * network and IPC namespaces of its own. The host is the first process of its namespace: when it ends, the kernel ends all others.
 */
import type { Finding } from "../../../base/finding.ts";
import { startChild } from "../child.ts";
import { containerGuards } from "../containers/guards.ts";
import { firstProcessUnder } from "../containers/first-process.ts";
import { inOurs } from "../containers/inside.ts";
import type { SandboxDriver } from "../driver.ts";
import { CLOSED, OWN_USERS, bwrapLine } from "./line.ts";

export const bwrap = {
  name: "bwrap",
  rooms: true,
  ownNetwork: true,
  seals: true,
  users: true,
  images: "folders",
  inside: inOurs,
  whyNot,
  guards: () => containerGuards("mount namespace"),
  start(host) {
    const child = startChild(bwrapLine(Bun.which("bwrap")!, host), { ...host, wraps: true });
    let pid: number | undefined;
    return {
      control: child.ends[0]!,
      get pid() {
        return (pid ??= firstProcessUnder(child.pid)!);
      },
      // The host ends with the process that has started it, which may not have done so yet.
      kill: () => child.kill(),
    };
  },
} as const satisfies SandboxDriver;

/** Tried: whether there are namespaces for this user is known to the kernel alone. */
function whyNot(): Finding | undefined {
  const lacks = (found: string, fix: string): Finding => ({
    name: "bwrap",
    state: "off",
    found,
    fix,
  });
  const program = Bun.which("bwrap");
  if (program === null) return lacks("bubblewrap is not installed", "apt-get install bubblewrap");
  const tried = Bun.spawnSync(
    [program, ...CLOSED, ...OWN_USERS, "--unshare-net", "--ro-bind", "/", "/", "--", "/bin/true"],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  if (tried.exitCode === 0) return undefined;
  const said = tried.stderr.toString().trim().split("\n").at(-1);
  return lacks(
    `bubblewrap makes no namespaces here (${said})`,
    "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000",
  );
}
