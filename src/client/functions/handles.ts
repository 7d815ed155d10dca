/** The handles that callers get: one for each way in which kinds of functions pass values. */
import type { Passing } from "../../kinds/kind.ts";
import type { FunctionHost } from "./host.ts";
import { type Handle, type Joining, type Lent, Members } from "./members.ts";
import { joinInPlace, openInPlace } from "./struct-function.ts";
import { joinByValue, openByValue } from "./value-function.ts";

interface Handles<By extends Passing> {
  /** A handle to call a function of one lease. */
  open(name: string, passing: By, host: FunctionHost): Handle;
  /** One handle made of those of several parts. */
  join(members: Members<never>): Handle;
}

const HANDLES: { readonly [By in Passing["by"]]: Handles<Extract<Passing, { by: By }>> } = {
  value: { open: openByValue, join: joinByValue },
  place: { open: openInPlace, join: joinInPlace },
};

/** What each handle was opened by. */
const opened = new WeakMap<object, Handles<never>>();

export function openHandle(name: string, passing: Passing, host: FunctionHost): Handle {
  const handles: Handles<never> = HANDLES[passing.by];
  const handle = handles.open(name, passing as never, host);
  opened.set(handle, handles);
  return handle;
}

/** The handles of one function on several parts, as one. */
export function joinHandles(lent: readonly Lent[], joining?: Joining): Handle {
  return opened.get(lent[0]!.handle)!.join(new Members(lent, joining) as Members<never>);
}
