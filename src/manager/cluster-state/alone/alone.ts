/** A manager that is alone: it leads, and what it keeps is in its state directory and nowhere else. */
import type { ClusterState, Reached, ShareEvents, Standing } from "../cluster-state.ts";

export class Alone implements ClusterState {
  readonly standing: Standing = { leads: true };
  readonly problem = null;

  async begin({ address }: Reached, _: unknown, events: ShareEvents): Promise<void> {
    events.managers([address]);
    events.standing(this.standing);
  }

  async settle(): Promise<void> {}

  async keep(): Promise<void> {}

  keepLater(): void {}

  async end(): Promise<void> {}
}
