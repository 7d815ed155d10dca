/** The command line of Apptainer for a host. */
import { type Bind, ownSystem, shownFor, withoutSys } from "../containers/inside.ts";
import type { HostStart } from "../driver.ts";

/** Of what the site's configuration mounts into every container, nothing. */
const NOT_MOUNTED = "hostfs,bind-paths,home,cwd,tmp";

/** `root` is a folder with the links of the node's own system, for a host without an image. */
export function apptainerLine(program: string, root: string, start: HostStart): string[] {
  const { image, network } = start.terms;
  const { command, binds } = shownFor(start);
  const own = withoutSys(ownSystem().binds);
  return [
    ...[program, "--silent", "exec", "--containall", "--cleanenv", "--no-home", "--no-privs"],
    ...["--no-init", "--no-eval", "--no-mount", NOT_MOUNTED],
    ...(network ? [] : ["--net", "--network", "none"]),
    ...[...(image === undefined ? own : []), ...binds].flatMap(bindOption),
    ...["--pwd", "/", image ?? root, ...command],
  ];
}

function bindOption({ from, to, writable }: Bind): string[] {
  return ["--bind", `${escaped(from)}:${escaped(to)}:${writable ? "rw" : "ro"}`];
}

/** What separates paths of a bind, and binds. */
const escaped = (path: string): string => path.replace(/[\\:,]/g, "\\$&");

/** The host's environment as Apptainer takes it from its own, beside what that needs itself: no command line shows it. */
export function apptainerEnvironment(
  own: Readonly<Record<string, string | undefined>>,
  nodes: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const passed = Object.entries(own).map(([name, value]) => [`APPTAINERENV_${name}`, value]);
  return { PATH: nodes["PATH"], HOME: nodes["HOME"], ...Object.fromEntries(passed) };
}
