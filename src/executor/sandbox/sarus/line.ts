/** The command line of Sarus for a host. */
import { type Bind, shownFor, systemBinds } from "../containers/inside.ts";
import type { HostStart } from "../driver.ts";

/** An image without files, around which a lease without an image sees the node's own system. */
export const EMPTY_IMAGE = "rfaas-empty:1";

/** Throws where a path has what Sarus cannot be told. */
export function sarusLine(program: string, name: string, start: HostStart): string[] {
  const { image } = start.terms;
  const { command, binds } = shownFor(start);
  const system = image === undefined ? systemBinds() : [];
  return [
    ...[program, "run", "--name", name, "--pid=private", "--workdir=/"],
    // Without a value: none of the image's own.
    ...["--entrypoint", ...[...system, ...binds].map(mount)],
    ...[image ?? EMPTY_IMAGE, ...command],
  ];
}

function mount({ from, to, writable }: Bind): string {
  // It knows no way to quote what divides its fields.
  const odd = [from, to].find((path) => /[,"\\\n]/.test(path));
  if (odd !== undefined)
    throw new Error(
      `Sarus cannot show the path ${JSON.stringify(odd)}: it has a comma, a quote, a backslash or a line break; serve with another --sandbox, or without that path`,
    );
  return `--mount=type=bind,source=${from},destination=${to}${writable ? "" : ",readonly"}`;
}
