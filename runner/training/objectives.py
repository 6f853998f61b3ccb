"""What is minimised: one loss in nats for each prompt, from the log-scores that evaluation would read."""

from collections.abc import Sequence

import torch
from torch import Tensor

from runner.core.recipe_types import Objective


def losses(
    objective: Objective, log_scores: Sequence[Tensor], counts: Sequence[Tensor], concentrations: Sequence[Tensor]
) -> Tensor:
    """(prompts,) losses; prompt i has log-scores (labels_i,), unnormalised, and the counts (labels_i,) of the votes.

    `concentrations` are the Dirichlet's, each of one number; empty unless the objective is dirichlet_multinomial, or
    where exp(scores) are the Dirichlet's parameters themselves, as Scruples trains encoders (arXiv 2008.09094). A
    prompt in one order of its options is a prompt of its own: the mean of their losses is an upper bound of the loss
    of the averaged distribution that is scored (Jensen's inequality), and equal to it where the orders agree.
    """
    item_losses: list[Tensor] = []
    for number, (scores, votes) in enumerate(zip(log_scores, counts, strict=True)):
        mass = torch.logsumexp(scores, dim=0)
        log_probs = (scores - mass).double()
        match objective.kind:
            case "soft_cross_entropy":
                loss = -(votes / votes.sum() * log_probs).sum()
            case "counts":
                loss = -(votes * log_probs).sum()
            case "hard":
                # argmax takes the first of equal counts, as the benchmark's plurality label does.
                loss = -log_probs[votes.argmax()]
            case "dirichlet_multinomial":
                own = concentrations[number] if concentrations else mass.exp()
                loss = dirichlet_multinomial(log_probs, votes, own.double())
            case "text":
                item_losses.append(-mass.double())
                continue
            case other:
                raise ValueError(other)
        item_losses.append(loss - objective.answer_mass * mass)
    return torch.stack(item_losses)


def dirichlet_multinomial(log_probs: Tensor, counts: Tensor, concentration: Tensor) -> Tensor:
    """−[lnΓ(S) − lnΓ(S+N) + Σ lnΓ(a+n) − lnΓ(a)], a = c·q, S = c, N = Σn, as `runner.scoring.rules` has it.

    lnΓ(a+n) − lnΓ(a) is ln a + lnΓ(a+n) − lnΓ(a+1) for n ≥ 1 and 0 for n = 0, which holds where a underflows.
    """
    log_a = concentration.log() + log_probs
    a = log_a.exp()
    # At least 1 also where it is not used: an infinite branch would make the gradient of the other one no number.
    rising = torch.where(counts > 0, log_a + torch.lgamma(a + counts.clamp(min=1)) - torch.lgamma(a + 1), 0.0)
    total = counts.sum()
    return torch.lgamma(concentration + total) - torch.lgamma(concentration) - rising.sum()
