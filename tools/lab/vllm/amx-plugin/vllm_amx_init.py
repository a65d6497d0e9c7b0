def register():
    import torch

    if torch.cpu._is_amx_tile_supported():
        torch.cpu._init_amx()
