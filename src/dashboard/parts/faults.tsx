/**
 * A fault of the page's own code, wherever it is: said in place of the page, since its figures can
 * be trusted no more.
 */
import { Component, type ReactNode } from 'react';

interface State {
  readonly fault: string | null;
}

const stateOf = (thrown: unknown): State => ({
  fault: thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown),
});

export class Faults extends Component<{ readonly children: ReactNode }, State> {
  static readonly getDerivedStateFromError = stateOf;
  override state: State = { fault: null };

  /** Those outside of what is drawn: React tells of none of them. */
  override componentDidMount(): void {
    addEventListener('error', this.onError);
    addEventListener('unhandledrejection', this.onRejection);
  }

  override componentWillUnmount(): void {
    removeEventListener('error', this.onError);
    removeEventListener('unhandledrejection', this.onRejection);
  }

  override render(): ReactNode {
    const { fault } = this.state;
    if (fault === null) return this.props.children;
    return (
      <main className="fault">
        <h1>fantail</h1>
        <p role="alert">
          The dashboard has a fault of its own and shows nothing any more; the replicator is not
          touched by it.
        </p>
        <p>{fault}</p>
        <button type="button" className="main" onClick={() => location.reload()}>
          Reload
        </button>
      </main>
    );
  }

  /** What a browser itself has to say (of ResizeObserver) has no error with it. */
  private readonly onError = ({ error }: ErrorEvent): void => {
    if (error !== null && error !== undefined) this.setState(stateOf(error));
  };

  private readonly onRejection = ({ reason }: PromiseRejectionEvent): void =>
    this.setState(stateOf(reason));
}
