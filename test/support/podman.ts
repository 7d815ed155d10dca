/** Whether podman runs here, and what a node that uses it needs around it. */
import { existsSync } from "node:fs";
import { podman } from "../../src/executor/sandbox/podman/driver.ts";

/**
 * Where a tree of cgroup v2 is mounted beside those of v1, as on machines between the two, podman takes it for the one to use, and fails: the
 * node gets namespaces of mounts without it.
 */
const BESIDE = "/sys/fs/cgroup/unified";

/** What comes before a node's command. */
export const withPodman: readonly string[] = existsSync(BESIDE)
  ? [
      ...["unshare", "--mount", "--propagation", "private", "sh", "-c"],
      ...[`umount ${BESIDE} && exec "$@"`, "sh"],
    ]
  : [];

export function whyNoPodman(): string | undefined {
  const lack = podman.whyNot();
  if (lack) return `${lack.found}; run: ${lack.fix}`;
  if (withPodman.length === 0 || process.getuid?.() === 0) return undefined;
  return `only root can take ${BESIDE} away`;
}
