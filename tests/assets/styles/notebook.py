# %%
import random

import torch

# %%
random.seed(5)
torch.manual_seed(5)
points = torch.utils.data.TensorDataset(torch.randn(48, 3), torch.randn(48, 1))
loader = torch.utils.data.DataLoader(points, batch_size=8, shuffle=True)
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
losses = []

# %%
# Not there in the plain notebook, and run twice in the recorded one.

# %%
sample = next(iter(loader))
for _ in range(3):
    for x, y in loader:
        loss = torch.nn.functional.mse_loss(model(x + 0.1 * torch.randn_like(x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

# %%
print("weights", sum(p.double().sum().item() for p in model.parameters()), "last", losses[-1])
